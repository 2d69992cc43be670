"""The TLS files of one endpoint: whom its client trusts, and what it shows itself."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NoReturn

from worker.records import Certificates


class CertificatesUnusable(Exception):
    """A file of certificates cannot be used.

    Attributes:
        setting: the setting, or the environment variable, that names the file.
        why: the file and what is wrong with it.
    """

    def __init__(self, setting: str, why: str) -> None:
        super().__init__(f"{setting} {why}")
        self.setting = setting
        self.why = why


def load(context: ssl.SSLContext, certificates: Certificates) -> None:
    """Put the files into a context; raises CertificatesUnusable."""
    authorities, shown, key = (
        certificates.ca_file,
        certificates.client_cert_file,
        certificates.client_key_file,
    )
    if authorities is not None:
        try:
            context.load_verify_locations(authorities)
        except OSError as error:  # ssl.SSLError is one
            unusable("ca_file", authorities, error)
    if shown is None:
        return
    for setting, path in (("client_cert_file", shown), ("client_key_file", key)):
        if path is not None and not Path(path).is_file():
            unusable(setting, path, FileNotFoundError("there is no such file"))
    try:
        context.load_cert_chain(shown, key, password=_no_password)
    except (OSError, ValueError) as error:
        unusable("client_key_file" if key else "client_cert_file", key or shown, error)


def unusable(setting: str, path: str, error: Exception) -> NoReturn:
    """Raise CertificatesUnusable for a file, with the reason in words."""
    why = getattr(error, "strerror", None) or str(error)
    if isinstance(error, ssl.SSLError):
        why = {
            "KEY_VALUES_MISMATCH": "the key does not belong to the certificate",
            "NO_CERTIFICATE_OR_CRL_FOUND": "it holds no certificate in PEM",
        }.get(error.reason or "", f"it holds no usable certificate or key in PEM ({error.reason})")
    raise CertificatesUnusable(setting, f"= {path} cannot be used: {why}") from error


def _no_password() -> NoReturn:
    """Without this OpenSSL would ask at the terminal, and wait."""
    raise ValueError("its key is encrypted: decrypt it into a file that only you can read")
