"""What the settings may say, but probably should not: a sentence each, with the cure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from urllib.parse import parse_qs, urlsplit

from worker.records import Endpoint

_VERSIONED = re.compile(r"/v\d")
_VERIFIED = ("verify-ca", "verify-full")  # the modes of libpq that check whom they talk to


def hints(database_url: str, endpoints: Mapping[str, Endpoint]) -> Iterator[str]:
    """Each hint about the database and the endpoints."""
    yield from _database_hints(database_url)
    for endpoint in endpoints.values():
        if not endpoint.embedded:
            yield from _version_hints(endpoint)
            yield from _exposure_hints(endpoint)


def _database_hints(url: str) -> Iterator[str]:
    if not url.startswith(("postgres:", "postgresql:", "postgresql+psycopg:")):
        return
    try:
        parts = urlsplit(url)
        host = parts.hostname or parse_qs(parts.query).get("host", [""])[0]
    except ValueError:
        return  # what is wrong with it, the database driver says
    mode = parse_qs(parts.query).get("sslmode", [""])[0]
    if host and not host.startswith("/") and not is_loopback(host) and mode not in _VERIFIED:
        yield (
            f"database_url: the connection to {host} does not check whom it talks to, and may not"
            " be encrypted: add ?sslmode=verify-full, with sslrootcert=FILE for an authority of"
            " your own"
        )


def _version_hints(endpoint: Endpoint) -> Iterator[str]:
    versioned = _VERSIONED.search(urlsplit(endpoint.base_url).path)
    where = f"endpoints.{endpoint.name}.base_url: {endpoint.shown_url}"
    if endpoint.dialect.startswith("openai") and not versioned:
        yield (
            f"{where} has no /v1, which most servers that speak {endpoint.dialect} want:"
            " add it unless yours is different"
        )
    elif endpoint.dialect.startswith(("ollama", "llamacpp")) and versioned:
        yield (
            f"{where} has a version in its path, but {endpoint.dialect} adds its own: remove"
            " it, or choose an OpenAI dialect"
        )


def _exposure_hints(endpoint: Endpoint) -> Iterator[str]:
    parts = urlsplit(endpoint.base_url)
    secret = "key" if endpoint.api_key else "headers" if endpoint.headers else ""
    if secret and parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        yield (
            f"endpoints.{endpoint.name}.base_url: {endpoint.shown_url} is not encrypted: everybody"
            f" on the way can read the prompts and the {secret}; use https://, or a tunnel"
        )


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only mean this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
