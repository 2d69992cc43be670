"""A failed connection is told in one sentence with its cure, however deep the reason lies."""

from __future__ import annotations

import socket
import ssl

import httpx
import pytest

from worker.transport import explain


def wrapped(inner: BaseException, *, in_group: bool) -> httpx.ConnectError:
    """As FastTransport raises it, or with the layers of httpx, httpcore and anyio around it."""
    error, middle = httpx.ConnectError("All attempts failed"), OSError("All attempts failed")
    error.__cause__ = middle
    group = ExceptionGroup("several", [ValueError("another"), inner]) if in_group else inner
    middle.__cause__ = group
    return error


@pytest.mark.parametrize("in_group", [False, True])
@pytest.mark.parametrize(
    ("inner", "said"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "host:1 refuses connections"),
        (socket.gaierror(-2, "Name or service not known"), "not known"),
        (ssl.SSLCertVerificationError(1, "x"), "SSL_CERT_FILE"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER]"), "begin with http://"),
    ],
)
def test_the_innermost_reason_is_told(inner, said, in_group):
    """Not that all attempts failed."""
    assert said in explain.unreachable(wrapped(inner, in_group=in_group), "host:1", 10)


def test_any_other_reason_is_told_as_the_system_tells_it():
    """Better than nothing."""
    error = wrapped(OSError(113, "No route to host"), in_group=False)
    said = explain.unreachable(error, "host:1", 10)
    assert said.startswith("no connection to host:1: ")
    assert "No route to host" in said


def test_a_timeout_names_its_length_and_a_proxy_its_variables():
    """These two come from httpx itself."""
    assert "within 2.5 s" in explain.unreachable(httpx.ConnectTimeout(""), "host:1", 2.5)
    assert "NO_PROXY" in explain.unreachable(httpx.ProxyError("403 Forbidden"), "host:1", 10)


def test_an_error_without_words_is_named():
    """httpx raises ReadError without a message."""
    assert explain.reason(httpx.ReadError("")) == "connection reset"
    assert explain.reason(ValueError()) == "ValueError"
    assert explain.reason(ValueError("so")) == "so"
