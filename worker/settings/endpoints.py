"""One `[endpoints.NAME]` table: what may be written, and what it turns into.

Dialect, base URL and model belong together.  The Ollama dialects have defaults
for all three, so that a laptop with Ollama needs no configuration; any other
dialect must name its URL and its model, because a guess would be sent to the
wrong place.  An embedded endpoint has neither: Spool starts its server itself.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from worker.errors import SettingsError
from worker.http.certificates import CertificatesUnusable, load
from worker.records import Certificates, Endpoint

DialectName = Literal[
    "ollama-generate",
    "ollama-chat",
    "openai-chat",
    "openai-completions",
    "openai-responses",
    "anthropic-messages",
    "llamacpp-completion",
]
DIALECT_NAMES: tuple[str, ...] = get_args(DialectName)
OLLAMA_URL = "http://localhost:11434"
OLLAMA_MODEL = "llama3.2"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# What a request holds beside options; `stream` is always true.
_NO_OPTIONS = frozenset({"stream", "model", "prompt", "messages", "input", "n", "n_cmpl"})
_PASTED_CHARS_MIN = 24  # from here on a name with small letters is taken for a key
_KEY_FILE_BYTES = 65536  # a key is a line; anything longer is the wrong file

Problem = tuple[str, str]  # the key at fault within the table, what is wrong and what to do


class EndpointTable(BaseModel):
    """One endpoint as it is written."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    dialect: DialectName = Field(
        default="ollama-chat",
        description="The wire format: " + ", ".join(DIALECT_NAMES) + ".",
    )
    base_url: str | None = Field(
        default=None,
        description="OpenAI dialects: with /v1, as OpenAI's own clients take it; the others:"
        f" without.  The Ollama dialects default to {OLLAMA_URL}; the others must name it.",
    )
    model: str | None = Field(
        default=None,
        min_length=1,
        description="For prompts that name none.  The Ollama dialects default to"
        f" {OLLAMA_MODEL}; the others must name it.  With embedded = true, it may be the path of a"
        " GGUF file.",
    )
    concurrency: int = Field(
        default=4,
        ge=1,
        le=100_000,
        description="Streams at a time, per worker; not more than the server has slots.",
    )
    api_key_env: str | None = Field(
        default=None,
        repr=False,
        description="The name of the environment variable that holds the key, never the key.",
    )
    api_key_file: str | None = Field(
        default=None,
        repr=False,
        description="... or a file that holds nothing but the key (a mounted secret).",
    )
    headers: dict[str, str] = Field(
        default_factory=dict,
        repr=False,
        description="Sent with every request; never shown or stored.",
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="Passed through to every request as they are; a prompt's own options win.",
    )
    connect_timeout_seconds: float = Field(
        default=10, gt=0, description="To open the connection; failing here costs a prompt nothing."
    )
    first_frame_timeout_seconds: float = Field(
        default=600,
        gt=0,
        description="To the first frame; generous, because it includes waiting for a slot and"
        " loading the model.",
    )
    idle_timeout_seconds: float = Field(
        default=120,
        gt=0,
        description="Between frames that carry progress; pings and comments do not count.",
    )
    total_timeout_seconds: float = Field(
        default=0,
        ge=0,
        description="For a whole run; 0 = no limit, as six-hour generations are welcome.",
    )
    accept_finish_without_done: bool = Field(
        default=False,
        description="For gateways that never send the protocol's done frame: takes a finish reason"
        " for it.  A stream that was cut can then pass for a complete one.",
    )
    anthropic_version: str = Field(
        default="2023-06-01",
        pattern=r"^\d{4}-\d{2}-\d{2}$",
        description="Of the protocol anthropic-messages, as a date.  Another version may refuse"
        " options that this one takes, such as temperature.",
    )
    canary: str = Field(
        default="Hi",
        min_length=1,
        max_length=1000,
        description="The prompt of the canary: one streamed request for a token, sent when it has"
        " to be found out whether the endpoint refuses everybody or just one prompt.  GET asks for"
        " the base URL instead, which costs no token and proves less.",
    )
    max_output_bytes: int = Field(
        default=64 * 1024 * 1024,
        ge=1024,
        description="Of one answer, in UTF-8: text, thinking and tool calls together.  Longer ones"
        " are ended with output_too_large and what they have; six hours of text are some 11 MB.",
    )
    continue_interrupted: Literal["auto", "prefill", "off"] = Field(
        default="auto",
        description="What a run does with the text of an earlier run that was cut.  auto: goes on"
        " with it where the server is seen to go on, and begins again elsewhere.  prefill: goes on"
        " without that proof, on your word.  off: always begins again.",
    )
    continue_by: Literal["completion", "trailing", "final_message", "prefix"] | None = Field(
        default=None,
        description="How the server is asked to go on, if it is not left to Spool: a last message"
        " of the assistant (trailing), the same with continue_final_message = true (final_message)"
        " or with prefix = true (prefix), or the end of a raw prompt (completion).",
    )
    continue_min_chars: int = Field(
        default=500,
        ge=1,
        description="Shorter texts are not worth it: the answer begins again.",
    )
    continue_at_length_tokens: int = Field(
        default=0,
        ge=0,
        description="An answer that ended at its length limit goes on until it ends by itself or is"
        " so many tokens long; 0: it is complete as it is.",
    )
    ca_file: str | None = Field(
        default=None,
        description="A PEM file with authorities to trust beside the usual ones, for a server with"
        " a certificate of your own.",
    )
    client_cert_file: str | None = Field(
        default=None,
        description="A PEM file with the certificate, and its chain, to show to servers that ask"
        " for one.",
    )
    client_key_file: str | None = Field(
        default=None,
        repr=False,
        description="A PEM file with the key of client_cert_file, not encrypted; leave it out if"
        " that file holds the key as well.",
    )
    embedded: bool = Field(
        default=False,
        description="true: Spool starts the bundled llama.cpp server itself.  Leave base_url and"
        " dialect out; model is the path of a GGUF file of your own (./my-model.gguf), or left out"
        " for the bundled one.",
    )
    embedded_context_tokens: int = Field(
        default=4096,
        ge=128,
        le=1 << 24,
        description="With embedded = true: room for prompt and answer of one stream; the memory for"
        " it is this times concurrency.  At most what the model was trained with.",
    )

    @property
    def _ollama(self) -> bool:
        return self.dialect.startswith("ollama")

    def resolved(self, name: str, *, api_key: str | None) -> Endpoint:
        """The endpoint as the rest of the program takes it, with every default filled in."""
        ours = "dialect" in self.model_fields_set or not self.embedded
        return Endpoint(
            name=name,
            dialect=self.dialect if ours else "openai-chat",
            base_url=(self.base_url or ("" if self.embedded else OLLAMA_URL)).rstrip("/"),
            model=self.model or ("embedded" if self.embedded else OLLAMA_MODEL),
            concurrency=self.concurrency,
            api_key=api_key,
            headers=dict(self.headers),
            options=dict(self.options),
            connect_timeout_seconds=self.connect_timeout_seconds,
            first_frame_timeout_seconds=self.first_frame_timeout_seconds,
            idle_timeout_seconds=self.idle_timeout_seconds,
            total_timeout_seconds=self.total_timeout_seconds,
            accept_finish_without_done=self.accept_finish_without_done,
            anthropic_version=self.anthropic_version,
            canary=self.canary,
            max_output_bytes=self.max_output_bytes,
            continue_interrupted=self.continue_interrupted,
            continue_by=self.continue_by,
            continue_min_chars=self.continue_min_chars,
            continue_at_length_tokens=self.continue_at_length_tokens,
            certificates=self._certificates,
            embedded=self.embedded,
            embedded_context_tokens=self.embedded_context_tokens,
        )

    def problems(self, name: str) -> Iterator[Problem]:
        """Everything about this table that its types alone cannot say."""
        if not _NAME.fullmatch(name):
            yield "", "is not a usable name: letters, digits, dot, dash and underscore only"
        yield from self._place_problems()
        if self.api_key_env is not None and self.api_key_file is not None:
            yield "api_key_file", "and api_key_env are both set: remove one of the two"
        if self.api_key_env is not None and not _is_variable(self.api_key_env):
            yield (
                "api_key_env",
                (
                    "is not the name of a variable; if it is the key itself, put that into an"
                    " environment variable and name the variable here"
                ),
            )
        yield from _header_problems(self.headers)
        yield from self._certificate_problems()
        for key in sorted(_NO_OPTIONS & self.options.keys()):
            yield "options", f"may not hold `{key}`, which is not an option: remove it"

    def _place_problems(self) -> Iterator[Problem]:
        """Dialect, base URL and model, which belong together."""
        if self.embedded and "dialect" in self.model_fields_set and self._ollama:
            yield "dialect", "is not spoken by the embedded server: use openai-chat or leave it out"
        if self.embedded and self.base_url is not None:
            yield "base_url", "has no meaning with embedded = true: remove one of the two"
        elif not (self.embedded or self._ollama):
            if self.base_url is None:
                yield "base_url", f"is missing: say where the {self.dialect} server is"
            if self.model is None:
                yield "model", "is missing: say which model to ask for"
        if self.base_url is not None:
            yield from _url_problems(self.base_url)

    def _certificate_problems(self) -> Iterator[Problem]:
        """Files of certificates that cannot be used are named before anything is sent."""
        if self.client_key_file is not None and self.client_cert_file is None:
            yield "client_key_file", "needs client_cert_file: set both, or the latter alone"
            return
        try:
            load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), self._certificates)
        except CertificatesUnusable as error:
            yield error.setting, error.why

    @property
    def _certificates(self) -> Certificates:
        return Certificates(
            _expanded(self.ca_file),
            _expanded(self.client_cert_file),
            _expanded(self.client_key_file),
        )

    def key(self, environ: Mapping[str, str]) -> str | None:
        """The API key, read now; raises SettingsError naming the variable or file that lacks it."""
        if self.api_key_env is not None:
            if not _is_variable(self.api_key_env):
                return None  # `problems` says so, without repeating what may be the key itself
            key = environ.get(self.api_key_env, "").strip()
            if not key:
                raise SettingsError(
                    f"the environment variable {self.api_key_env} is not set: export it, or remove"
                    " api_key_env if the server wants no key"
                )
        elif self.api_key_file is not None:
            key = _key_from(Path(self.api_key_file).expanduser())
        else:
            return None
        if not key.isascii() or not key.isprintable():
            raise SettingsError("the key holds characters that no HTTP header can carry")
        return key


def _expanded(path: str | None) -> str | None:
    return None if path is None else str(Path(path).expanduser())


def _is_variable(name: str) -> bool:
    """Whether this can be the name of a variable; long ones in mixed case are pasted keys."""
    return bool(_VARIABLE.fullmatch(name)) and (
        len(name) < _PASTED_CHARS_MIN or name == name.upper()
    )


def _key_from(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_KEY_FILE_BYTES + 1)
        key = data.decode("utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SettingsError(f"the key file {path} cannot be read: {why}") from error
    if not key or len(data) > _KEY_FILE_BYTES:
        raise SettingsError(f"the file {path} must hold the key and nothing else")
    return key


def _url_problems(url: str) -> Iterator[Problem]:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port  # both raise ValueError when they are malformed
    except ValueError:
        yield "base_url", "is not a URL: check its host and port"
        return
    if parts.scheme not in {"http", "https"}:
        yield "base_url", "must begin with http:// or https://"
    elif not host:
        yield "base_url", "names no host"
    if parts.username is not None or parts.password is not None:
        yield "base_url", "holds a user or password, which messages would show: use api_key_env"
    if parts.fragment:
        yield "base_url", "must end before the #"


def _header_problems(headers: Mapping[str, str]) -> Iterator[Problem]:
    for name, value in headers.items():
        if not _HEADER.fullmatch(name):
            yield "headers", f"{name[:40]!r} is not the name of a header"
        elif not (value.isascii() and value.isprintable()):
            yield "headers", f"the value of {name} has characters that no header can carry"
