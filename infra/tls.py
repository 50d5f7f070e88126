"""TLS of our programs, made of settings: whom they believe, and by what they are known.

Version 1.2 or later on both sides. A client always looks whether an authority that it trusts signed
the certificate, and whether that names the host it asked for.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from pydantic import SecretStr

from infra.api_settings import ApiSettings
from infra.security_settings import TlsFiles
from infra.settings import SettingsError


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """Make the context of a client of Kafka or Cassandra; raises `SettingsError` for a file that
    cannot be used.
    """
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=files.ca_file)
    except OSError as error:
        raise SettingsError(
            f"{files.section}.ca_file {files.ca_file} cannot be used ({_why(error)}): name a file "
            "of certificates in PEM."
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if files.cert_file is not None and files.key_file is not None:
        _load_chain(context, files.section, (files.cert_file, files.key_file), files.key_password)
    return context


def server_context(settings: ApiSettings) -> ssl.SSLContext | None:
    """Make the context of the API, None if it speaks no TLS; raises `SettingsError` as above."""
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    files = settings.tls_cert_file, settings.tls_key_file
    _load_chain(context, "api.tls", files, settings.tls_key_password)
    return context


def _load_chain(
    context: ssl.SSLContext, section: str, files: tuple[Path, Path], password: SecretStr
) -> None:
    certificate, key = files
    try:
        # A function, because without one OpenSSL would ask on the terminal.
        context.load_cert_chain(certificate, key, password.get_secret_value)
    except (OSError, ValueError) as error:
        separator = "_" if "." in section else "."
        names = [f"{section}{separator}{name}" for name in ("cert_file", "key_file")]
        raise SettingsError(
            f"{names[0]} {certificate} and {names[1]} {key} cannot be used ({_why(error)}): name a "
            "certificate in PEM, what leads to its authority, and its key, with the password if it "
            "is encrypted."
        ) from error


def _why(error: Exception) -> str:
    return getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
