"""`spool serve`: OpenAI's Files and Batches over HTTP, in front of the queue."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from worker.cli.output import talk
from worker.cli.session import Session, session
from worker.errors import SettingsError

if TYPE_CHECKING:
    from worker.supervisor.worker import Worker

HOST, PORT = "127.0.0.1", 8400


@click.command(short_help="OpenAI's Batch API in front of the queue.")
@click.option("--host", default=HOST, show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    default=PORT,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0 takes a free one.",
)
@click.option(
    "--api-keys-file",
    metavar="FILE",
    help="A name and a key on each line; needed beyond 127.0.0.1.",
)
@click.option("--with-worker", is_flag=True, help="Run a worker in this process, too.")
@session
def command(
    session: Session, /, *, host: str, port: int, api_keys_file: str | None, with_worker: bool
) -> None:
    """Answer clients of OpenAI's Files and Batches; SIGTERM stops it.

    Prompts are queued in the database; `spool run`, or --with-worker, streams the answers.
    """
    try:
        from worker.server import listening
        from worker.server.context import Context
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"{error.name} is not installed: `pip install 'promptspool[serve]'`"
        ) from None
    from worker.app.worker_app import run_async
    from worker.cli.run import work
    from worker.clock import SystemClock

    keys = listening.keys_of(_text(api_keys_file)) if api_keys_file else {}
    settings = session.settings(keys=with_worker)
    store = session.store(create=True)
    listener = listening.bound(host, port, has_keys=bool(keys))
    place = f"http://{host}:{listener.getsockname()[1]}"

    def made(*, alone: bool) -> listening.Server:
        context = Context(
            store, settings.endpoints, SystemClock(), max_line_bytes=settings.max_line_bytes
        )
        return listening.Server(context, keys, alone=alone)

    talk(f"listens on {place}/v1")
    if not with_worker:
        run_async(lambda: listening.serve(made(alone=True), listener))
        return
    crowded = store.check_premises(listens=settings.listen)

    async def beside(_: Worker) -> None:
        await listening.serve(made(alone=False), listener)

    work(session, settings, store, crowded, drain=False, as_json=False, also=beside)


def _text(file: str) -> str:
    try:
        return Path(file).expanduser().read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the file of keys {file} cannot be read as text") from error
