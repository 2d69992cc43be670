"""What the commands of one invocation share: options, settings, the store, the log.

Everything is made when it is first asked for, because the libraries behind it
are slow to import and most commands need only some of them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from worker.app.process_tuning import one_heap
from worker.errors import StoreBroken

if TYPE_CHECKING:
    from worker.log import Logger, Out
    from worker.settings import Loaded, Settings
    from worker.store import Store


class Session:
    """One invocation of `spool`.

    Attributes:
        config: the settings file named on the command line.
        database_url: the same for the database.
        verbose: whether to say more.
    """

    def __init__(self) -> None:
        self.config: str | None = None
        self.database_url: str | None = None
        self.verbose = False
        self._loaded: Loaded | None = None
        self._store: Store | None = None

    def loaded(self, *, keys: bool = False, **overrides: Any) -> Loaded:
        """The settings with their story; see `worker.settings.load_all`.

        `keys` makes a missing API key an error: for commands that will use one.
        """
        if self._loaded is None:
            from worker.settings import CONFIG_VARIABLE, load_all

            named = self.config or os.environ.get(CONFIG_VARIABLE)
            flags = {"database_url": self.database_url, **overrides}
            config = Path(named) if named else None
            self._loaded = load_all(config, overrides=flags, keys_required=keys)
        return self._loaded

    def settings(self, *, keys: bool = False, **overrides: Any) -> Settings:
        """The settings in force; raises SettingsError with every fault."""
        return self.loaded(keys=keys, **overrides).settings

    def store(self, *, create: bool = False) -> Store:
        """The open store, its schema checked; it closes when the command ends.

        `create` makes the tables of an SQLite database that does not exist yet.
        """
        if self._store is None:
            from worker.store import Store

            one_heap()
            settings = self.settings()
            store = Store.open(
                settings.database_url,
                busy_timeout_seconds=settings.busy_timeout_seconds,
                synchronous=settings.sqlite_synchronous,
                keep_commits=settings.keep_commits,
            )
            click.get_current_context().call_on_close(store.close)
            if create and self.is_new_sqlite():
                self._migrate(settings)
            self._check(store)
            self._store = store
        return self._store

    def is_new_sqlite(self) -> bool:
        """Whether the database is an SQLite file that does not exist, or holds no table yet."""
        from worker.store.schema.migrate import is_blank

        file = self.settings().sqlite_file
        return file is not None and is_blank(file)

    def log(self, stream: Out | None = None) -> Logger:
        """The log of this process, which knows the secrets that it must not repeat.

        stream: where it goes, instead of standard error.
        """
        from worker import log

        settings = self.settings()
        return log.make(
            log_format=settings.log_format,
            level="debug" if self.verbose else settings.log_level,
            secrets=settings.secrets,
            stream=stream,
        )

    def _migrate(self, settings: Settings) -> None:
        from worker.store.schema.migrate import upgrade

        done = upgrade(settings.database_url, busy_timeout_seconds=settings.busy_timeout_seconds)
        if done.before is None:  # another process may have been quicker
            click.echo(f"spool: created {settings.sqlite_file}", err=True)

    def _check(self, store: Store) -> None:
        if self.is_new_sqlite():
            file = self.settings().sqlite_file
            raise StoreBroken(
                f"there is no database at {file} yet: `spool add` or `spool migrate` makes it"
            )
        store.check_schema()


session = click.make_pass_decorator(Session)
