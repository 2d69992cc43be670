"""A file that cannot be used is named with its setting, and OpenSSL asks nobody for a password."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from worker.http.certificates import CertificatesUnusable, load
from worker.records import Certificates

FILES = Path(__file__).parent.parent / "fakes" / "tls"
CLIENT = str(FILES / "test-only-client.pem")
KEY = str(FILES / "test-only-client.key")


def fault(**files) -> CertificatesUnusable:
    with pytest.raises(CertificatesUnusable) as caught:
        load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), Certificates(**files))
    return caught.value


def test_good_files_are_loaded(tmp_path):
    """With the key in a file of its own, or beside the certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    both = tmp_path / "both.pem"
    both.write_bytes(Path(CLIENT).read_bytes() + Path(KEY).read_bytes())
    load(context, Certificates(str(FILES / "test-only-ca.pem"), str(both)))
    load(context, Certificates(None, CLIENT, KEY))
    assert context.cert_store_stats()["x509_ca"] == 1


@pytest.mark.parametrize("setting", ["ca_file", "client_cert_file"])
def test_a_file_that_is_not_there_is_named(setting):
    """By its setting and its path."""
    error = fault(**{setting: "/no/such.pem"})
    assert error.setting == setting
    assert "= /no/such.pem cannot be used: " in str(error)


def test_what_a_file_lacks_is_told(tmp_path):
    """Nonsense, no key at all, a key that does not belong, an encrypted one."""
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nothing")
    assert "holds no" in fault(ca_file=str(nonsense)).why
    assert "holds no usable" in fault(client_cert_file=CLIENT).why
    other = fault(client_cert_file=CLIENT, client_key_file=str(FILES / "test-only-other.key"))
    assert other.setting == "client_key_file"
    assert "does not belong" in other.why
    encrypted = str(FILES / "test-only-encrypted.key")
    assert "is encrypted" in fault(client_cert_file=CLIENT, client_key_file=encrypted).why
