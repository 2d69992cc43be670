"""What an endpoint said to any worker: shared with the others, and with the next start.

Only the server's own words: that it answers, or that it refuses everybody.  Who cannot reach it
keeps that to himself, for it may be his own network.  Workers with other settings under the same
name are told apart by a digest; they learn nothing from each other, and `spool status` says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime

import msgspec

from worker.errors import ErrorCode, Refused, ServerFailed, SpoolError
from worker.records import Endpoint, Json

_SCRYPT = {"n": 2**12, "r": 8, "p": 1, "dklen": 12}  # 8 ms: a short password is not found at once
_MODELS_KEPT = 50
_ERROR_CHARS = 500


def digest(endpoint: Endpoint) -> str:
    """What tells settings apart without telling them: base URL, dialect, headers and key."""
    secrets = msgspec.json.encode([endpoint.api_key, sorted(endpoint.headers.items())])
    place = f"spool {endpoint.name} {endpoint.dialect} {endpoint.base_url}".encode()
    return hashlib.scrypt(secrets, salt=place, **_SCRYPT).hex()


class SharedState:
    """What one endpoint said, as it stands in its row of `endpoint_states`.

    Attributes:
        changed: whether it has to be written.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.digest = digest(endpoint)
        self.changed = False
        self.has_answered = False  # anything, ever
        self._models: list[str] = []  # of which a canary was ever answered
        self._refusal: dict[str, Json] | None = None

    def answers(self, model: str, *, by_canary: bool) -> None:
        """A run of this model was answered, or a canary, whose refusals count from now on."""
        if by_canary and model not in self._models and len(self._models) < _MODELS_KEPT:
            self._models.append(model)
            self.changed = True
        self.changed = self.changed or self._refusal is not None or not self.has_answered
        self.has_answered = True
        self._refusal = None

    def refuses(self, error: SpoolError, *, since: datetime) -> None:
        """Everybody is refused."""
        if self._refusal is not None:
            return
        self.changed = True
        self._refusal = {
            "code": str(error.code),
            "error": error.message[:_ERROR_CHARS],
            "http_status": error.http_status,
            "final": isinstance(error, Refused),
            "since": since.isoformat(timespec="seconds"),
        }

    def state(self) -> Mapping[str, Json]:
        """What its row holds."""
        return {
            "answered": self.has_answered,
            "models": self._models,
            "refusal": self._refusal,
        }

    def read(self, state: Mapping[str, Json]) -> tuple[list[str], SpoolError | None]:
        """Take over what stands there: models whose canary counts, and how everybody is refused."""
        models = [model for model in state.get("models") or () if isinstance(model, str)]
        self._models = list(dict.fromkeys([*self._models, *models]))[:_MODELS_KEPT]
        self.has_answered = self.has_answered or bool(state.get("answered"))
        refusal = state.get("refusal")
        if not isinstance(refusal, dict):
            self._refusal = None
            return models, None
        self._refusal = refusal
        kind = Refused if refusal.get("final") else ServerFailed
        status = refusal.get("http_status")
        return models, kind(
            str(refusal.get("error")),
            code=_code(refusal.get("code")),
            http_status=status if isinstance(status, int) else None,
        )


def _code(word: Json) -> ErrorCode:
    try:
        return ErrorCode(word)
    except ValueError:
        return ErrorCode.SERVER_ERROR
