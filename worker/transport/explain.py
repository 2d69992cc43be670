"""Why there is no connection, in one sentence, and what to do about it.

httpx wraps what the system said once, its own transport several times; the
innermost reason that a person can act on is the one worth telling.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import httpx


def unreachable(error: Exception, where: str, connect_seconds: float) -> str:
    """The sentence for a failed connection to `where` (host:port)."""
    causes = list(_causes(error))
    sentences = (_sentence(cause, where, connect_seconds) for cause in causes)
    known = next((sentence for sentence in sentences if sentence), None)
    return known or f"no connection to {where}: {reason(causes[-1])}"


def reason(error: BaseException) -> str:
    """What an error says, or its name in words when it says nothing."""
    return str(error) or {
        "ReadError": "connection reset",
        "WriteError": "connection reset while sending",
        "ReadTimeout": "silence",
    }.get(type(error).__name__, type(error).__name__)


def _sentence(cause: BaseException, where: str, connect_seconds: float) -> str | None:
    match cause:
        case httpx.ProxyError():
            text = f"no way to {where} through the proxy: {cause}; see HTTP_PROXY and NO_PROXY"
        case httpx.ConnectTimeout():
            text = (
                f"no connection to {where} within {connect_seconds:g} s:"
                " is the host right, and does a firewall let it pass?"
            )
        case socket.gaierror():
            text = f"the host of {where} is not known ({cause.strerror}): correct base_url"
        case ssl.SSLCertVerificationError():
            text = (
                f"the TLS certificate of {where} is not trusted"
                f" ({_detail(cause, 'verify_message')}):"
                " set SSL_CERT_FILE to a file with its authority"
            )
        case ssl.SSLError():
            text = (
                f"TLS with {where} failed ({_detail(cause, 'reason')}):"
                " should base_url begin with http:// there?"
            )
        case ConnectionRefusedError():
            text = f"{where} refuses connections: start the server there or correct base_url"
        case _:
            return None
    return text


def _detail(cause: ssl.SSLError, name: str) -> str:
    """The short form of what OpenSSL says, if it has one."""
    return getattr(cause, name, None) or str(cause)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and everything behind it."""
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            for part in error.exceptions:
                yield from _causes(part)
        error = error.__cause__ or error.__context__
