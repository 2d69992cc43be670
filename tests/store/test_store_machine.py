"""Whatever happens in whatever order, the tables say what a simple model says.

Workers claim, flush, finish, die, come back and write late; answers get lost and calls are
sent again; people cancel, retry, and change rows by hand.  Hypothesis plays, the model keeps
the books, and after every move the database is compared with it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.store.cast import (
    LEASE_SECONDS,
    cancelled,
    completed,
    expire,
    failed,
    interrupted,
    sign_on,
    take,
)
from worker.records import Chunk, Kind, NewPrompt, Run
from worker.store import Selection

WORKERS = ("w1", "w2", "w3")
MAX_CRASHES = 2
FINAL = ("completed", "failed", "cancelled")
LATER = 1_000_000.0
TEXTS = st.text(
    st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=0, max_size=12
)


@dataclass
class Prompt:
    priority: int
    state: str = "queued"
    attempts: int = 0
    crashes: int = 0
    runs: int = 0
    run_id: int | None = None
    asked: bool = False  # somebody wants it cancelled
    waits: bool = False  # until later
    completions: int = 0


@dataclass
class Carried:
    run: Run
    worker: str
    state: str = "streaming"
    code: str | None = None
    measured: bool = False  # how far it came was found out by the store
    chunks: dict[int, tuple[str, str]] = field(default_factory=dict)


class Machine(RuleBasedStateMachine):
    """The model; `stores` and `sql` are the world."""

    stores: list
    sql: object

    def __init__(self):
        super().__init__()
        for table in ("prompts", "batches", "workers"):
            self.sql(f"DELETE FROM {table}")
        self.prompts: dict[int, Prompt] = {}
        self.carried: dict[int, Carried] = {}
        self.names: set[str] = set()
        self.leases = dict.fromkeys(WORKERS, True)
        for worker in WORKERS:
            sign_on(self.stores[0], worker)

    def store(self, worker):
        return self.stores[WORKERS.index(worker) % len(self.stores)]

    # --- prompts come in --------------------------------------------------------------------

    @rule(
        names=st.lists(st.sampled_from(["a", "b", "c", "d", None]), min_size=1, max_size=4),
        priority=st.integers(-1, 1),
    )
    def add(self, names, priority):
        before = self.sql.one("SELECT coalesce(max(id), 0) FROM prompts")
        new = [NewPrompt(prompt="Why?", custom_id=name, priority=priority) for name in names]
        fresh = [
            n for at, n in enumerate(names) if n is None or n not in self.names | {*names[:at]}
        ]
        added = self.stores[0].add(new, batch="b")
        assert (added.added, added.existing) == (len(fresh), len(names) - len(fresh))
        self.names |= {name for name in names if name}
        for (prompt_id,) in self.sql(f"SELECT id FROM prompts WHERE id > {before}"):
            self.prompts[prompt_id] = Prompt(priority)

    @rule(priority=st.integers(-1, 1))
    def add_by_hand(self, priority):
        self.sql(f"INSERT INTO prompts (prompt, priority) VALUES ('Why?', {priority})")
        self.prompts[self.sql.one("SELECT max(id) FROM prompts")] = Prompt(priority)

    # --- workers ----------------------------------------------------------------------------

    @rule(worker=st.sampled_from(WORKERS), limit=st.integers(1, 4))
    def claim(self, worker, limit):
        runs = take(self.store(worker), worker, limit=limit)
        open_ = {
            key: prompt
            for key, prompt in self.prompts.items()
            if prompt.state == "queued" and not prompt.asked and not prompt.waits
        }
        expected = min(limit, len(open_)) if self.leases[worker] else 0
        assert len(runs) == expected
        for run in runs:
            prompt = open_.pop(run.prompt_id)
            prompt.state, prompt.run_id = "running", run.id
            prompt.attempts += 1
            prompt.runs += 1
            assert (run.attempt, run.attempts) == (prompt.runs, prompt.attempts)
            self.carried[run.id] = Carried(run, worker)
        taken = [self.prompts[run.prompt_id].priority for run in runs]
        assert taken == sorted(taken, reverse=True)
        if runs and open_:
            assert min(taken) >= max(prompt.priority for prompt in open_.values())

    @precondition(lambda self: self.carried)
    @rule(
        data=st.data(),
        ending=st.sampled_from([None, None, completed, failed, interrupted, cancelled]),
        texts=st.lists(st.tuples(st.sampled_from(list(Kind)), TEXTS), max_size=3),
        again=st.booleans(),
        charged=st.booleans(),
        waits=st.booleans(),
        impostor=st.booleans(),
        companion=st.booleans(),
        measured=st.booleans(),
    )
    def write(self, data, ending, texts, again, charged, waits, impostor, companion, measured):
        """Any worker, also one that lost the run long ago, flushes or ends it; the answer may get
        lost and the call be sent again; another run of the same worker may be in it too."""
        carried = data.draw(st.sampled_from(sorted(self.carried.values(), key=lambda c: c.run.id)))
        worker = carried.worker
        if impostor:
            worker = WORKERS[WORKERS.index(worker) - 1]
        chunks = self.next_chunks(carried, texts)
        endings = []
        if ending is not None:
            delay = LATER if waits else 0.0
            chars = None if measured else 0
            endings = [ending(carried.run, charged=charged, delay_seconds=delay, chars=chars)]
        others = [
            other
            for other in self.carried.values()
            if companion and other.worker == worker and other is not carried
        ][:2]
        for other in others:
            chunks += self.next_chunks(other, [(Kind.TEXT, "x")])
        lost = self.store(worker).commit(worker, chunks, endings)
        expected = set()
        for each in [carried, *others]:
            own = [chunk for chunk in chunks if chunk.run_id == each.run.id]
            own_end = endings if each is carried else []
            if (own or own_end) and not self.apply(each, worker, own, own_end):
                expected.add(each.run.id)
        assert lost == expected
        if again and not lost:
            assert self.store(worker).commit(worker, chunks, endings) == frozenset() or not endings

    def next_chunks(self, carried, texts):
        first = len(carried.chunks)
        return [
            Chunk(carried.run.id, first + at, kind, text, carried.run.nonce)
            for at, (kind, text) in enumerate(texts)
        ]

    def apply(self, carried, worker, chunks, endings):
        """What the commit must have done; False if the run is lost."""
        prompt = self.prompts.get(carried.run.prompt_id)
        if worker != carried.worker:
            return False
        if carried.state != "streaming" or prompt is None:
            # An ending that says what has already happened is a call that was sent again.
            return bool(endings) and (carried.state, carried.code) == (
                {"complete": "completed", "fail": "failed", "interrupt": "interrupted"}.get(
                    endings[0].run_event, "cancelled"
                ),
                endings[0].error_code,
            )
        if prompt.state != "running" or prompt.run_id != carried.run.id:
            gone = prompt.state == "cancelled"
            carried.state = "cancelled" if gone else "interrupted"
            carried.code = "cancelled" if gone else "lease_lost"
            carried.measured = True
            return False
        for chunk in chunks:
            carried.chunks[chunk.seq] = (chunk.kind.value, chunk.text)
        for end in endings:
            self.end(carried, prompt, end)
        return True

    def end(self, carried, prompt, end):
        carried.code = end.error_code
        carried.measured = end.chars is None
        carried.state, prompt.state = {
            "complete": ("completed", "completed"),
            "fail": ("failed", "failed"),
            "interrupt": ("interrupted", "cancelled" if prompt.asked else "queued"),
            "cancel": ("cancelled", "cancelled"),
        }[end.run_event]
        prompt.completions += end.run_event == "complete"
        prompt.attempts = max(0, prompt.attempts - (not end.charged))
        prompt.waits = end.run_event == "interrupt" and end.delay_seconds > 0

    @rule(worker=st.sampled_from(WORKERS))
    def die(self, worker):
        expire(self.sql, worker)
        self.leases[worker] = False

    @rule(worker=st.sampled_from(WORKERS))
    def come_back(self, worker):
        assert self.store(worker).renew(worker, LEASE_SECONDS)
        self.leases[worker] = True

    @rule(worker=st.sampled_from(WORKERS), limit=st.integers(1, 3))
    def rescue(self, worker, limit):
        orphans = {
            key
            for key, carried in self.carried.items()
            if carried.state == "streaming"
            and not self.leases[carried.worker]
            and carried.run.prompt_id in self.prompts
        }
        found = self.store(worker).rescue(max_crashes=MAX_CRASHES, limit=limit)
        assert len(found) == min(limit, len(orphans))
        for each in found:
            orphans.remove(each.run_id)
            carried, prompt = self.carried[each.run_id], self.prompts[each.prompt_id]
            carried.state, carried.code = "interrupted", "lease_expired"
            carried.measured = True
            if prompt.state == "running" and prompt.run_id == each.run_id:
                prompt.crashes += 1
                prompt.attempts = max(0, prompt.attempts - 1)
                prompt.state = "failed" if prompt.crashes >= MAX_CRASHES else "queued"
                if prompt.asked:
                    prompt.state = "cancelled"
            assert each.prompt_state == prompt.state

    @rule(worker=st.sampled_from(WORKERS))
    def ask(self, worker):
        """What it owns, and which of that is not its own any more."""
        owned, strays = {}, set()
        for key, carried in self.carried.items():
            prompt = self.prompts.get(carried.run.prompt_id)
            if carried.worker == worker and carried.state == "streaming" and prompt:
                owned[key] = (carried.run.prompt_id, carried.run.nonce)
                if (prompt.state, prompt.run_id) != ("running", key):
                    strays.add(key)
        assert self.store(worker).owned(worker) == owned
        assert self.store(worker).strays(worker) == strays

    @rule()
    def time_passes(self):
        self.sql("UPDATE prompts SET available_at = created_at WHERE status = 'queued'")
        for prompt in self.prompts.values():
            prompt.waits = False

    # --- people -----------------------------------------------------------------------------

    def some(self, data):
        return data.draw(st.sampled_from(sorted(self.prompts)))

    @precondition(lambda self: self.prompts)
    @rule(data=st.data())
    def cancel(self, data):
        chosen = self.some(data)
        prompt = self.prompts[chosen]
        concerned = prompt.state == "queued" or (prompt.state == "running" and not prompt.asked)
        assert self.stores[0].cancel(Selection(ids=(chosen,))) == concerned
        if concerned:
            prompt.asked = True
            prompt.state = "cancelled" if prompt.state == "queued" else prompt.state

    @precondition(lambda self: self.prompts)
    @rule(data=st.data())
    def ask_by_hand(self, data):
        chosen = self.some(data)
        if self.prompts[chosen].state in FINAL:
            return
        self.sql(f"UPDATE prompts SET cancel_requested_at = created_at WHERE id = {chosen}")
        self.prompts[chosen].asked = True

    @rule()
    def cancel_queued(self):
        asked = [p for p in self.prompts.values() if p.asked and p.state == "queued"]
        assert self.stores[-1].cancel_queued() == len(asked)
        for prompt in asked:
            prompt.state = "cancelled"

    @precondition(lambda self: self.prompts)
    @rule(data=st.data())
    def take_away_by_hand(self, data):
        chosen = self.some(data)
        prompt = self.prompts[chosen]
        if prompt.state == "running":
            self.sql(
                "UPDATE prompts SET status = 'cancelled', finished_at = created_at"
                f" WHERE id = {chosen}"
            )
            prompt.state = "cancelled"

    @precondition(lambda self: self.prompts)
    @rule(data=st.data())
    def retry(self, data):
        chosen = self.some(data)
        prompt = self.prompts[chosen]
        concerned = prompt.state in ("failed", "cancelled")
        assert self.stores[0].retry(Selection(ids=(chosen,))) == concerned
        if concerned:
            prompt.state, prompt.attempts, prompt.crashes = "queued", 0, 0
            prompt.asked = prompt.waits = False

    @precondition(lambda self: self.prompts)
    @rule(data=st.data())
    def prune(self, data):
        chosen = self.some(data)
        concerned = self.prompts[chosen].state in FINAL
        assert sum(self.stores[0].prune(Selection(ids=(chosen,)))) == concerned
        if concerned:
            del self.prompts[chosen]
            for carried in self.carried.values():
                if carried.run.prompt_id == chosen:
                    carried.state = "pruned"
            self.names = {name for (name,) in self.sql("SELECT custom_id FROM prompts") if name}

    # --- the books --------------------------------------------------------------------------

    @invariant()
    def the_tables_say_what_the_model_says(self):
        rows = self.sql(
            "SELECT id, status, attempts, crashes, runs, run_id,"
            " cancel_requested_at IS NOT NULL, finished_at IS NOT NULL FROM prompts ORDER BY id"
        )
        assert rows == [
            (
                key,
                prompt.state,
                prompt.attempts,
                prompt.crashes,
                prompt.runs,
                prompt.run_id,
                prompt.asked,
                prompt.state in FINAL,
            )
            for key, prompt in sorted(self.prompts.items())
        ]
        assert self.sql("SELECT id, worker_id, status, error_code FROM runs ORDER BY id") == [
            (key, carried.worker, carried.state, carried.code)
            for key, carried in sorted(self.carried.items())
            if carried.state != "pruned"
        ]
        lengths = dict(self.sql("SELECT id, chars FROM runs"))
        for key, carried in self.carried.items():
            if carried.measured and carried.state != "pruned":
                texts = (text for kind, text in carried.chunks.values() if kind == "text")
                assert lengths[key] == sum(map(len, texts))
        assert self.sql("SELECT run_id, seq, kind, text FROM chunks ORDER BY run_id, seq") == [
            (key, seq, *chunk)
            for key, carried in sorted(self.carried.items())
            for seq, chunk in sorted(carried.chunks.items())
            if carried.state != "pruned"
        ]

    @invariant()
    def no_prompt_is_completed_twice(self):
        assert all(prompt.completions <= 1 for prompt in self.prompts.values())
        answers = self.sql("SELECT run_id, output FROM results WHERE status = 'completed'")
        ids = {prompt_id: prompt.run_id for prompt_id, prompt in self.prompts.items()}
        assert len(answers) == sum(self.prompts[key].state == "completed" for key in ids)
        for run_id, output in answers:
            chunks = sorted(self.carried[run_id].chunks.items())
            assert output == "".join(text for _, (kind, text) in chunks if kind == "text")


@pytest.mark.timeout(600)
def test_the_store_keeps_the_books_of_the_model(open_store, sql):
    """Two stores, three workers, and everything that people and accidents do to them."""
    machine = type("Play", (Machine,), {"stores": [open_store(), open_store()], "sql": sql})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=30,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
