"""TLS over bytes: what came from the network in, plain bytes out, and the way back.

asyncio has TLS of its own, but it keeps 256 KiB of buffer for each connection and
goes on reading the socket while its user has paused it, which would undo the
coalescing of reads for every hosted endpoint.  Here the connection owns the
socket and this class only translates.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from typing import cast

import httpx

from worker.http.certificates import load, unusable
from worker.records import NO_CERTIFICATES, Certificates

# What names the trusted authorities when an endpoint does not.
AUTHORITY_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


def client_context(certificates: Certificates, verify: ssl.SSLContext | bool) -> ssl.SSLContext:
    """The context for connections of an endpoint; raises CertificatesUnusable.

    `verify` is what httpx takes; a context is used as it is while the endpoint has no files.
    """
    if isinstance(verify, ssl.SSLContext) and certificates == NO_CERTIFICATES:
        return verify
    context = _with_authorities(verify=bool(verify))
    load(context, certificates)
    return context


def _with_authorities(*, verify: bool) -> ssl.SSLContext:
    """The usual authorities, or those that a variable names."""
    try:
        return httpx.create_ssl_context(verify=verify)
    except OSError as error:  # ssl.SSLError is one
        name = named_authorities()
        if name is None:
            raise
        unusable(f"the environment variable {name}", os.environ[name], error)


def named_authorities() -> str | None:
    """The variable that names the authorities, if one is set."""
    return next((name for name in AUTHORITY_VARIABLES if os.environ.get(name)), None)


class Tls:
    """The client side of one TLS connection; raises ssl.SSLError and its kin."""

    def __init__(self, context: ssl.SSLContext, server_hostname: str) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=server_hostname
        )
        self.closed = False  # the peer said that it sends no more

    def receive(self, data: bytes | memoryview) -> None:
        """Take what the network brought."""
        self._incoming.write(data)

    def shake(self) -> bool:
        """Go on with the handshake; True when it is over."""
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def plain(self, room: memoryview) -> int:
        """Put the plain bytes of everything received into `room`; how many they are.

        Record by record, without an object for each: one token of a model is one record.
        """
        size, most = 0, len(room)
        # The types of the standard library do not know that it reads into a buffer, too.
        read = cast("Callable[[int, memoryview], int]", self._object.read)
        try:
            while size < most and not self.closed:
                got = read(most - size, room[size:])
                self.closed = not got
                size += got
        except ssl.SSLWantReadError:
            pass  # that was all
        return size

    def encrypt(self, data: bytes | memoryview) -> None:
        """Take plain bytes on their way to the peer."""
        self._object.write(data)

    def outgoing(self) -> bytes:
        """What must be sent now: handshake, key updates, encrypted data; often nothing."""
        return self._outgoing.read() if self._outgoing.pending else b""
