"""The terms of a worker: the options it obeys, the store it needs, how it says how it is."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from worker.endpoints.telling import TellingStore
from worker.records import Run
from worker.run.buffer import Limits
from worker.run.continuation import EarlierStore
from worker.supervisor.committer import CommitStore
from worker.supervisor.lease import LeaseStore
from worker.supervisor.notifier import NotifierStore
from worker.supervisor.rescue import RescueStore


@dataclass(frozen=True, slots=True)
class Options:
    """The settings that the loop obeys; config/spool.toml explains each."""

    lease_seconds: float = 30.0
    shutdown_grace_seconds: float = 30.0
    poll_seconds: float = 1.0
    listen: bool = False
    gather_seconds: float = 0.0
    max_attempts: int = 5
    max_runs: int = 20
    max_crashes: int = 3
    worker_buffer_bytes: int = 67_108_864
    max_frame_bytes: int = 16_777_216
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class WorkerHealth:
    """How a worker is, at the moment of asking.

    Attributes:
        renewed_seconds_ago: since its last successful renewal; None before it registered.
        database_away: whether its last transaction has to wait.
    """

    renewed_seconds_ago: float | None
    lease_valid: bool
    database_away: bool
    stopping: bool
    runs: int

    @property
    def ready(self) -> bool:
        """Whether it can claim: its lease holds and the database answers."""
        return self.lease_valid and not self.database_away and not self.stopping


class BacklogPort(Protocol):
    """How much is left to do for some endpoints."""

    @property
    def ready(self) -> int:
        """Prompts that may be claimed now."""
        ...

    @property
    def later(self) -> int:
        """Prompts that wait for their moment."""
        ...

    @property
    def running(self) -> int:
        """Prompts that some worker carries."""
        ...


class StorePort(
    CommitStore, EarlierStore, LeaseStore, RescueStore, NotifierStore, TellingStore, Protocol
):
    """What the loop needs of the store."""

    def leave(self, worker_id: str) -> None:
        """The worker has been told to stop."""
        ...

    def sign_off(self, worker_id: str) -> None:
        """The worker has ended and holds nothing."""
        ...

    def claim(
        self,
        worker_id: str,
        endpoint: str,
        limit: int,
        *,
        dialect: str,
        model: str,
        max_attempts: int,
        max_crashes: int,
        suspects: int,
        without: Collection[int],
    ) -> Sequence[Run]:
        """Claim up to `limit` prompts of an endpoint.

        suspects: how many of them may have broken off twice without evidence and progress.
        without: batches that are left out; 0 is that of prompts without one.
        """
        ...

    def cancel_requests(self, worker_id: str) -> Collection[int]:
        """Runs of this worker whose prompts are to be cancelled."""
        ...

    def backlog(self, endpoints: Collection[str]) -> BacklogPort:
        """What is left to do for these endpoints."""
        ...
