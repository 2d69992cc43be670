"""Table 3: peak memory of a worker and of the commands, as what they handle grows; and how fast
files go in and results come out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks import databases, frames, harness, server
from benchmarks.harness import Sample, Table

MIB = 1024 * 1024
TOKEN_BYTES = 1000
FEW = 10_000
FORMATS = ("jsonl", "csv")
# Prompts as a worker leaves them, made in SQL: it is the reading that is measured.
ANSWERED = (
    """
    INSERT INTO prompts (custom_id, prompt, status, attempts, runs, run_id, finished_at)
    WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < {rows})
    SELECT 'q' || id, 'What is ' || id || ' times seven?', 'completed', 1, 1, id, CURRENT_TIMESTAMP
    FROM n
    """,
    """
    INSERT INTO runs (
        id, prompt_id, attempt, worker_id, endpoint, dialect, model, status, first_text_at,
        finished_at, finish_reason, prompt_tokens, completion_tokens, chars, chunks, http_status,
        done_frame
    )
    SELECT
        id, id, 1, 'w', endpoint, 'ollama-chat', 'm', 'completed', created_at,
        finished_at, 'stop', 12, 80, 200, 1, 200, TRUE
    FROM prompts
    """,
    """
    INSERT INTO chunks (run_id, seq, kind, text)
    SELECT id, 0, 'text', custom_id || ' is "forty-two"; ' ||
        'that is, as far as is known — some say it is not — the answer to all such questions, and '
        || 'to many others as well, which nobody has thought of asking until now, or not aloud.'
    FROM prompts
    """,
)


def tables(*, short: bool) -> Iterator[Table]:
    """Responses and files, small and large."""
    size = 64 if short else 1024
    with databases.databases() as made, tempfile.TemporaryDirectory(prefix="spool-bench-") as at:
        yield _responses(made, Path(at), size)
        yield _files(made, Path(at), 100_000 if short else 1_000_000)
        yield _results(made, Path(at), 100_000 if short else 1_000_000)


def _responses(made: databases.Databases, folder: Path, large: int) -> Table:
    table = Table(
        f"Memory: peak RSS (MiB) with one response of 1 MiB and of {large:,} MiB",
        ("command", "1 MiB", f"{large:,} MiB", "difference", "MB/s"),
        notes=[server.NAME, databases.NAME, "what is stored is compared, byte by byte, by length"],
    )
    for kind in databases.KINDS:
        found = {size: _one_response(made, kind, folder, size) for size in (1, large)}
        for command in found[1]:
            small, big = found[1][command], found[large][command]
            table.add(
                f"spool {command}, {kind}",
                f"{small['rss']:.1f}",
                f"{big['rss']:.1f}",
                f"{big['rss'] - small['rss']:+.1f}",
                harness.rounded(large * MIB / 1e6 / big["seconds"]),
            )
    return table


def _one_response(
    made: databases.Databases, kind: str, folder: Path, mib: int
) -> dict[str, Sample]:
    url = made.new(kind)
    databases.add(url, 1)
    texts = frames.pieces(frames.prose(500 * TOKEN_BYTES), TOKEN_BYTES)
    count = mib * MIB // TOKEN_BYTES
    with server.serving("ollama-chat", count=count, texts=texts) as running:
        config = databases.configuration(folder, url, "ollama-chat", running.url)
        found = {"run": spool(config, "run", "--drain")}
    length = "length(CAST(text AS BLOB))" if kind == "sqlite" else "octet_length(text)"
    ((stored,),) = databases.ask(url, f"SELECT sum({length}) FROM chunks")
    whole, rest = divmod(count, len(texts))
    sent = whole * sum(len(each.encode()) for each in texts)
    sent += sum(len(each.encode()) for each in texts[:rest])
    if int(stored) != sent:
        raise SystemExit(f"{stored} of {sent} bytes are stored")
    found["show"] = spool(config, "show", "1")
    found["export"] = spool(config, "export")
    made.drop(url)
    return found


def _files(made: databases.Databases, folder: Path, large: int) -> Table:
    table = Table(
        f"Memory: peak RSS (MiB) of `spool add` with files of {FEW:,} and {large:,} lines",
        ("database", f"{FEW:,} lines", f"{large:,} lines", "difference", "lines/s"),
        notes=[databases.NAME],
    )
    for kind in databases.KINDS:
        found = {}
        for lines in (FEW, large):
            path = folder / f"{lines}.jsonl"
            with path.open("w") as file:
                for number in range(lines):
                    said = {"custom_id": f"q{number}", "prompt": f"What is {number} times seven?"}
                    file.write(json.dumps(said) + "\n")
            url = made.new(kind)
            config = databases.configuration(folder, url, "ollama-chat", "http://127.0.0.1:9")
            found[lines] = spool(config, "add", str(path), "--batch", "b")
            path.unlink()
            made.drop(url)
        table.add(kind, *_grown(found[FEW], found[large], large))
    return table


def _grown(small: Sample, big: Sample, count: int) -> list[str]:
    return [
        f"{small['rss']:.1f}",
        f"{big['rss']:.1f}",
        f"{big['rss'] - small['rss']:+.1f}",
        harness.rounded(count / big["seconds"]),
    ]


def _results(made: databases.Databases, folder: Path, large: int) -> Table:
    table = Table(
        f"Memory: peak RSS (MiB) of `spool export` of {FEW:,} and {large:,} answers",
        ("database, format", f"{FEW:,} rows", f"{large:,} rows", "difference", "rows/s"),
        notes=[databases.NAME, "a prompt of 30 and an answer of 200 characters, one chunk each"],
    )
    for kind in databases.KINDS:
        found: dict[tuple[str, int], Sample] = {}
        for rows in (FEW, large):
            url = made.new(kind)
            for statement in ANSWERED:
                databases.ask(url, statement.format(rows=rows))
            config = databases.configuration(folder, url, "ollama-chat", "http://127.0.0.1:9")
            for name in FORMATS:
                out = folder / f"out.{name}"
                found[name, rows] = spool(config, "export", "--format", name, "-o", str(out))
                out.unlink()
            made.drop(url)
        for name in FORMATS:
            table.add(f"{kind}, {name}", *_grown(found[name, FEW], found[name, large], large))
    return table


def _settle() -> None:
    os.sched_setaffinity(0, {harness.CLIENT_CORE})
    harness.prefer()


def spool(config: Path, *arguments: str) -> Sample:
    """Run a command to its end; its peak of memory and its seconds."""
    out = config.with_name("resident.json")
    command = [sys.executable, "-m", "benchmarks.resident", str(out), *arguments]
    done = subprocess.run(
        [*command, "--config", str(config)],
        cwd=harness.ROOT,
        preexec_fn=_settle,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "COLUMNS": "100"},
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"spool {arguments[0]}: {done.stderr.decode()[-1000:]}")
    return json.loads(out.read_text())
