"""Certificates made on the spot: an authority of a test's own, and files of what it signed."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

LOOPBACK = "127.0.0.1"
KEY_PASSWORD = "the password of the key"


@dataclass(frozen=True)
class Signed:
    """A certificate with its key, in files of PEM: apart, in one, and with the key encrypted."""

    certificate: Path
    key: Path
    both: Path
    encrypted_key: Path

    def serving(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


class Authority:
    """Signs what it is asked to; its own certificate is in `file`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._ca = trustme.CA()
        self.file = folder / "authority.pem"
        self._ca.cert_pem.write_to_path(str(self.file))

    def sign(self, name: str = LOOPBACK) -> Signed:
        """For a server, or a client, of that name."""
        made = self._ca.issue_cert(name)
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        chain = b"".join(blob.bytes() for blob in made.cert_chain_pems)
        # Java reads keys in PKCS 8 only.
        key = load_pem_private_key(made.private_key_pem.bytes(), None)
        kinds = (NoEncryption(), BestAvailableEncryption(KEY_PASSWORD.encode()))
        plain, locked = (
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption) for encryption in kinds
        )
        files = {"certificate": chain, "key": plain, "both": plain + chain, "encrypted_key": locked}
        for file, content in files.items():
            (folder / f"{file}.pem").write_bytes(content)
        return Signed(**{file: folder / f"{file}.pem" for file in files})

    def believing(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.file)
