"""A failed connection is told in one sentence with its cure, however deep the reason lies."""

from __future__ import annotations

import socket
import ssl

import httpx
import pytest

from worker.http.certificates import CertificatesUnusable
from worker.http.transport import explain


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
        (CertificatesUnusable("ca_file", "= x cannot be used"), "ca_file = x cannot be used"),
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


def distrust(code: int, why: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, why)
    error.verify_code, error.verify_message = code, why
    return error


def refusal(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, reason)
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("inner", "said"),
    [
        (distrust(62, "Hostname mismatch"), "is for another name (Hostname mismatch)"),
        (distrust(64, "IP address mismatch"), "is for another name"),
        (distrust(10, "certificate has expired"), "has expired"),
        (distrust(9, "certificate is not yet valid"), "correct the clock of this machine"),
        (distrust(18, "self-signed certificate"), "set ca_file of the endpoint, or SSL_CERT_FILE"),
        (distrust(20, "unable to get local issuer certificate"), "set ca_file"),
        (refusal("TLSV13_ALERT_CERTIFICATE_REQUIRED"), "set client_cert_file"),
        (refusal("SSLV3_ALERT_BAD_CERTIFICATE"), "set client_cert_file"),
        (refusal("TLSV1_ALERT_UNKNOWN_CA"), "set client_cert_file"),
        (refusal("SSLV3_ALERT_HANDSHAKE_FAILURE"), "client_cert_file of the endpoint), or speak"),
        (refusal("TLSV1_ALERT_PROTOCOL_VERSION"), "no version of TLS"),
        (refusal("HTTP_REQUEST"), "begin with http://"),
        (ssl.SSLEOFError(8, "EOF occurred"), "in the TLS handshake"),
    ],
)
def test_each_fault_of_tls_has_its_own_cure(inner, said):
    """The cure of another one sends people the wrong way."""
    assert said in explain.unreachable(wrapped(inner, in_group=False), "host:1", 10)


def test_authorities_of_the_environment_are_named(monkeypatch):
    """A variable that was set long ago is what nobody thinks of."""
    monkeypatch.setenv("SSL_CERT_FILE", "/old/bundle.pem")
    said = explain.unreachable(wrapped(distrust(20, "x"), in_group=False), "host:1", 10)
    assert "now only SSL_CERT_FILE = /old/bundle.pem is" in said


def test_tls_speaks_only_where_it_had_a_say():
    """A reset is a reset."""
    lost = httpx.ReadError("alert")
    lost.__cause__ = refusal("TLSV13_ALERT_CERTIFICATE_REQUIRED")
    assert "client certificate" in (explain.of_tls(lost, "host:1") or "")
    assert explain.of_tls(httpx.ReadError("reset"), "host:1") is None


def test_the_end_of_a_connection_is_not_taken_for_nonsense():
    """Both come as the same class, from either transport."""
    assert explain.is_cut(httpx.RemoteProtocolError("Server disconnected without sending"))
    assert not explain.is_cut(httpx.RemoteProtocolError("Invalid header token"))
