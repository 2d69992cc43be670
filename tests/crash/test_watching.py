"""While a prompt streams, anybody can read what there is of it, and stop it, with plain SQL."""

from __future__ import annotations

from tests.crash.stage import Stage, sentence, until

NOW = {True: "strftime('%Y-%m-%d %H:%M:%f', 'now')", False: "now()"}


def test_the_text_so_far_is_there_for_other_processes(stage: Stage) -> None:
    """It grows, flush by flush, always a beginning of the whole."""
    (prompt_id,) = stage.add("A story. [[tokens=250 rate=40]]")
    stage.start()
    seen = [""]
    question = f"SELECT status, partial_output FROM results WHERE id = {prompt_id}"
    live = f"SELECT text FROM live WHERE prompt_id = {prompt_id}"

    def grown() -> bool:
        ((status, text),) = stage.sql(question)
        if text and len(text) > len(seen[-1]):
            assert status == "running"
            seen.append(text)
        return len(seen) > 4

    until("the text has grown four times", grown)
    assert stage.sql(live)[0][0].startswith(seen[-1])
    until("it is completed", lambda: stage.status(prompt_id) == "completed")
    ((output, rest),) = stage.sql(
        f"SELECT output, partial_output FROM results WHERE id = {prompt_id}"
    )
    assert all(output.startswith(text) for text in seen)
    assert rest is None
    audit = stage.audit()
    assert not audit.broken, sentence(audit)


def test_a_prompt_cancelled_by_plain_sql_stops_within_about_a_flush(stage: Stage) -> None:
    """The response is closed, the text stays, and nothing is tried again."""
    (prompt_id,) = stage.add("A story. [[tokens=2000 rate=40]]")
    stage.start()
    run_id = stage.until_text(prompt_id)
    now = NOW[stage.sql.is_sqlite]
    stage.sql(f"UPDATE prompts SET cancel_requested_at = {now} WHERE id = {prompt_id}")
    until("it is cancelled", lambda: stage.status(prompt_id) == "cancelled")
    until("the server is left alone", lambda: stage.requests()[0]["ended"] == "left")
    assert stage.runs(prompt_id) == [(run_id, "cancelled", "cancelled")]
    assert stage.text(run_id)
    audit = stage.audit()
    assert not audit.broken, sentence(audit)


def test_a_prompt_that_somebody_overwrites_is_let_go(stage: Stage) -> None:
    """Who writes the status by hand means it: the worker stops, and writes nothing more."""
    (prompt_id,) = stage.add("A story. [[tokens=2000 rate=40]]")
    worker = stage.start()
    run_id = stage.until_text(prompt_id)
    now = NOW[stage.sql.is_sqlite]
    stage.sql(
        f"UPDATE prompts SET status = 'cancelled', finished_at = {now} WHERE id = {prompt_id}"
    )
    worker.until_said("run_lost")
    until("the server is left alone", lambda: stage.requests()[0]["ended"] == "left")
    assert stage.runs(prompt_id) == [(run_id, "cancelled", "cancelled")]
