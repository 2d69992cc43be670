"""`spool migrate`."""

from __future__ import annotations

import click

from worker.cli.output import data, json_line, json_option, talk
from worker.cli.session import Session, session


@click.command(short_help="Create the tables, or bring them up to date.")
@click.option(
    "--grants",
    type=click.Choice(["print", "apply"]),
    help="PostgreSQL: print the statements that make the roles spool_submitter, spool_worker and"
    " spool_reader and give each what it needs and no more; or migrate and run them.",
)
@json_option
@session
def command(session: Session, /, *, as_json: bool, grants: str | None) -> None:
    """Create the tables, or bring them up to date.

    Safe to repeat, and while older workers run. `spool add` and `spool run` do it themselves when
    they meet an SQLite file that does not exist yet.
    """
    from worker.store.schema import grants as roles
    from worker.store.schema.migrate import REVISION, upgrade

    settings = session.settings()
    if grants == "print":
        for statement in roles.statements():
            data(f"{statement};")
        return
    revisions = upgrade(settings.database_url, busy_timeout_seconds=settings.busy_timeout_seconds)
    where = settings.safe_database_url
    if as_json:
        json_line({"database": where, "before": revisions.before, "after": revisions.after})
    elif revisions.before == revisions.after != REVISION:
        data(
            f"{where} has revision {revisions.after}, newer than this version of Spool"
            f" ({REVISION}), which can work with it; nothing was changed"
        )
    elif revisions.before == revisions.after:
        data(f"{where} is up to date (revision {revisions.after})")
    elif revisions.before is None:
        data(f"{where} has its tables now (revision {revisions.after})")
    else:
        data(f"{where} went from revision {revisions.before} to {revisions.after}")
    if grants == "apply":
        roles.apply(settings.database_url)
        talk(f"granted; make logins members of them, as in `GRANT {roles.WORKER} TO alice`")
