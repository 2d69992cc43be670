"""`spool config`: the settings in force, as a person would write them, and where each is from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from worker.cli.output import data, json_line, json_option, talk
from worker.cli.session import Session, session

if TYPE_CHECKING:
    from worker.records import Endpoint
    from worker.settings import Loaded

_HIDDEN = "***"
_KEY_FIELDS = frozenset({"api_key_env", "api_key_file"})  # told as whether there is a key


@click.command(short_help="The settings in force, and where each comes from.")
@click.option("--defaults", is_flag=True, help="A commented spool.toml with every default.")
@click.option("--reference", is_flag=True, help="Every setting, as a page of Markdown.")
@json_option
@session
def command(session: Session, /, *, defaults: bool, reference: bool, as_json: bool) -> None:
    """Show the settings in force, as TOML, with where each comes from.

    Passwords, keys and header values are not shown.
    """
    if defaults or reference:
        from worker.settings.reference import as_markdown, as_toml

        data(as_toml() if defaults else as_markdown(), newline=False)
        return
    loaded = session.loaded()
    if as_json:
        json_line(_as_json(loaded))
    else:
        for line in _as_toml(loaded):
            data(line)
    for hint in loaded.hints:
        talk(hint)
    for name, why in loaded.missing_keys.items():
        talk(f"endpoints.{name}: {why}")


def _values(loaded: Loaded) -> Iterator[tuple[str, Any]]:
    from worker.settings.model import Values

    for name in Values.model_fields:
        value = getattr(loaded.settings, name)
        yield name, loaded.settings.safe_database_url if name == "database_url" else value


def _endpoint_values(endpoint: Endpoint) -> Iterator[tuple[str, Any]]:
    from worker.settings.endpoints import EndpointTable

    for name in EndpointTable.model_fields:
        if name in _KEY_FIELDS:
            continue
        owner = endpoint.certificates if hasattr(endpoint.certificates, name) else endpoint
        value = endpoint.shown_url if name == "base_url" else getattr(owner, name)
        yield name, dict.fromkeys(value, _HIDDEN) if name == "headers" else value


def _as_toml(loaded: Loaded) -> Iterator[str]:
    from worker.settings.reference import literal

    yield f"# read from {loaded.file or 'no file: there is no spool.toml here'}"
    for name, value in _values(loaded):
        yield f"{name} = {literal(value)}  # {loaded.origins.kind((name,))}"
    for name, endpoint in loaded.settings.endpoints.items():
        yield f"\n[endpoints.{_key(name)}]"
        for field, value in _endpoint_values(endpoint):
            if value is None:
                continue  # TOML has no word for it
            yield f"{field} = {literal(value)}  # {loaded.origins.kind(('endpoints', name, field))}"
        yield f"# api key: {_key_state(loaded, name)}"


def _as_json(loaded: Loaded) -> dict[str, Any]:
    return {
        "file": str(loaded.file) if loaded.file else None,
        "settings": {
            name: {"value": value, "from": loaded.origins.kind((name,))}
            for name, value in _values(loaded)
        },
        "endpoints": {
            name: {
                **{
                    field: {
                        "value": value,
                        "from": loaded.origins.kind(("endpoints", name, field)),
                    }
                    for field, value in _endpoint_values(endpoint)
                },
                "api_key": _key_state(loaded, name),
            }
            for name, endpoint in loaded.settings.endpoints.items()
        },
        "hints": list(loaded.hints),
    }


def _key_state(loaded: Loaded, name: str) -> str:
    if name in loaded.missing_keys:
        return "missing"
    return "set" if loaded.settings.endpoints[name].api_key else "none"


def _key(name: str) -> str:
    return f'"{name}"' if "." in name else name
