"""The settings as documents: a commented `spool.toml`, and a page of tables.

Both are derived from the model, so that there is one place to change.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic.fields import FieldInfo

from worker.settings.endpoints import OLLAMA_MODEL, OLLAMA_URL, EndpointTable
from worker.settings.model import Values, plain

_WIDTH = 98
_EXAMPLES = {
    "api_key_env": '"SOME_VARIABLE"',
    "api_key_file": '"/run/secrets/some_key"',
    "ca_file": '"/etc/ssl/my-authority.pem"',
    "client_cert_file": '"/etc/ssl/my-client.pem"',
    "client_key_file": '"/run/secrets/my-client.key"',
    "continue_by": '"final_message"',
}


def as_toml() -> str:
    """A `spool.toml` with every setting at its default, and why."""
    lines = [
        "# Every setting of Spool at its default.  A file needs only the lines it wants to change.",
        "# SPOOL_LEASE_SECONDS=60 or SPOOL_ENDPOINTS__DEFAULT__MODEL=qwen3 in the environment win",
        "# over the file, and flags win over both.",
    ]
    for name, field in Values.model_fields.items():
        lines += ["", *_comment(field), f"{name} = {literal(field.default)}"]
    lines += [
        "",
        "# Where prompts can be sent.  Each [endpoints.NAME] is one server and model; a prompt",
        '# that names none goes to "default".',
        "[endpoints.default]",
    ]
    for name, field in EndpointTable.model_fields.items():
        example = _EXAMPLES.get(name)
        value = (
            f"# {name} = {example}" if example else f"{name} = {literal(endpoint_default(name))}"
        )
        lines += ["", *_comment(field), value]
    return "\n".join(lines) + "\n"


def as_markdown() -> str:
    """The reference page of the settings."""
    lines = [
        "# Configuration",
        "",
        "Settings come from `spool.toml` in the working directory (or `--config FILE`, or",
        "`SPOOL_CONFIG`), then from `SPOOL_*` variables, then from flags; the later wins. What is",
        "not set falls through to the one before, and in the end to the defaults below. Tables are",
        "merged key by key.",
        "",
        "Every fault is reported at once, with its file, its key and what to do. `spool config`",
        "shows what is in force and where each value came from; `spool config --defaults` prints a",
        "file with every setting at its default.",
        "",
        "This page is printed by `spool config --reference`; a test keeps it so.",
        "",
        "## Settings",
        "",
        "| setting | variable | default | range | meaning |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += _rows(Values.model_fields, "SPOOL_", lambda name: Values.model_fields[name].default)
    lines += [
        "",
        "## Endpoints",
        "",
        "Each `[endpoints.NAME]` table is one place to send prompts. In the names of variables,",
        "NAME is in capitals, with `_` for dashes and dots: `SPOOL_ENDPOINTS__MY_GPU__MODEL` is",
        "`model` of `[endpoints.my-gpu]`. `headers` and `options` are JSON objects there. A file",
        "that names any endpoint has exactly those it names.",
        "",
        "| setting | variable | default | range | meaning |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += _rows(EndpointTable.model_fields, "SPOOL_ENDPOINTS__NAME__", endpoint_default)
    return "\n".join(lines) + "\n"


def endpoint_default(name: str) -> Any:
    """What an unset key of an endpoint means; None where it means nothing."""
    if name == "base_url":
        return OLLAMA_URL
    if name == "model":
        return OLLAMA_MODEL
    return EndpointTable.model_fields[name].get_default(
        call_default_factory=True, validated_data={}
    )


def literal(value: Any) -> str:
    """A value as TOML writes it; JSON does so too for all that settings can hold but tables."""
    if isinstance(value, dict):
        inside = ", ".join(f"{json.dumps(key)} = {literal(item)}" for key, item in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, list):
        return f"[{', '.join(literal(item) for item in value)}]"
    return json.dumps(plain(value), ensure_ascii=False)


def _comment(field: FieldInfo) -> Iterator[str]:
    return (
        f"# {line}"
        for line in textwrap.wrap(field.description or "", _WIDTH - 2, break_on_hyphens=False)
    )


def _rows(
    fields: Mapping[str, FieldInfo], prefix: str, default_of: Callable[[str], Any]
) -> Iterator[str]:
    for name, field in fields.items():
        default = default_of(name)
        shown = "" if default is None else f"`{literal(default)}`"
        meaning = (field.description or "").replace("  ", " ").replace("|", "\\|")
        yield f"| `{name}` | `{prefix}{name.upper()}` | {shown} | {_range(field)} | {meaning} |"


def _range(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(field.annotation))
    words = []
    for limit in field.metadata:
        if isinstance(limit, Ge):
            words.append(f"at least {limit.ge}")
        elif isinstance(limit, Gt):
            words.append(f"more than {limit.gt}")
        elif isinstance(limit, Le):
            words.append(f"at most {limit.le}")
    return ", ".join(words)
