"""Why there is no connection, in one sentence, and what to do about it.

httpx wraps what the system said once, its own transport several times; the
innermost reason that a person can act on is the one worth telling.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
from collections.abc import Iterator

import httpx

from worker.http.certificates import CertificatesUnusable
from worker.http.transport.tls import named_authorities

# Numbers of OpenSSL for why a certificate is not accepted (x509_vfy.h).
_NOT_YET_VALID, _EXPIRED, _WRONG_NAMES = 9, 10, frozenset({62, 64})
# What a server says about our own certificate, or that there is none.
_OUR_CERTIFICATE = re.compile(
    "CERTIFICATE_REQUIRED|ALERT_(BAD_CERTIFICATE|UNSUPPORTED_CERT|CERTIFICATE_|UNKNOWN_CA)"
    "|ALERT_ACCESS_DENIED|PEER_DID_NOT_RETURN_A_CERTIFICATE"
)
_VERSION = re.compile("ALERT_PROTOCOL_VERSION|UNSUPPORTED_PROTOCOL|VERSION_TOO_LOW")


def of_tls(error: BaseException, where: str) -> str | None:
    """The sentence for an answer of TLS to a request; None if TLS had no say in it."""
    cause = next((cause for cause in _causes(error) if isinstance(cause, ssl.SSLError)), None)
    return None if cause is None else _tls(cause, where)


def is_cut(error: httpx.RemoteProtocolError) -> bool:
    """Whether the connection ended, as opposed to bytes that are not HTTP."""
    return str(error).startswith(("Server disconnected", "peer closed connection"))


def is_out_of_descriptors(error: BaseException) -> bool:
    """Whether this process, or this machine, may open no more files and connections."""
    numbers = (cause.errno for cause in _causes(error) if isinstance(cause, OSError))
    return any(number in (errno.EMFILE, errno.ENFILE) for number in numbers)


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
        case CertificatesUnusable():
            text = str(cause)
        case ssl.SSLCertVerificationError():
            text = f"the TLS certificate of {where} {_distrust(cause)}"
        case ssl.SSLError():
            text = _tls(cause, where)
        case ConnectionRefusedError():
            text = f"{where} refuses connections: start the server there or correct base_url"
        case _:
            return None
    return text


def _distrust(cause: ssl.SSLCertVerificationError) -> str:
    """What is wrong with the certificate of a server, and the cure."""
    why, code = _detail(cause, "verify_message"), getattr(cause, "verify_code", 0)
    if code in _WRONG_NAMES:
        return f"is for another name ({why}): correct the host in base_url"
    if code == _EXPIRED:
        return f"has expired ({why}): renew it on the server, if the clock here is right"
    if code == _NOT_YET_VALID:
        return f"is not valid yet ({why}): correct the clock of this machine"
    named = named_authorities()
    beside = f" (now only {named} = {os.environ[named]} is)" if named else ""
    return (
        f"is not trusted ({why}): set ca_file of the endpoint, or SSL_CERT_FILE, to a file with"
        f" its authority{beside}"
    )


def _tls(cause: ssl.SSLError, where: str) -> str:
    """What went wrong in the handshake, and the cure."""
    why = _detail(cause, "reason")
    if _OUR_CERTIFICATE.search(why):
        return (
            f"{where} wants a client certificate that it knows ({why}): set client_cert_file and"
            " client_key_file of the endpoint"
        )
    if "HANDSHAKE_FAILURE" in why:
        return (
            f"{where} refused the TLS handshake ({why}): it may want a client certificate"
            " (client_cert_file of the endpoint), or speak no cipher that is spoken here"
        )
    if _VERSION.search(why):
        return f"{where} speaks no version of TLS that is spoken here ({why}): update the server"
    if isinstance(cause, ssl.SSLEOFError):
        return (
            f"{where} closed the connection in the TLS handshake ({why}): should base_url begin"
            " with http:// there, or does it want a client certificate (client_cert_file)?"
        )
    return f"TLS with {where} failed ({why}): should base_url begin with http:// there?"


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
