"""Keys that sign bearer tokens: the secret of the settings, or a key set in a file (RFC 7517).

The algorithm is the key's and never the token's: HS256 for a secret, RS256 for RSA, EdDSA for
Ed25519. Keys are rotated by writing the file anew: first the new key beside the old one, then, when
the last token of the old one has expired, the new one alone. Each process looks at the file every
`LOOK_S`, and at once when a token names a key that it does not know. A file that cannot be used
changes nothing, and a sentence in the log says why.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from infra.api_settings import SECRET_BYTES_MIN, ApiSettings
from infra.clock import monotonic_s
from schemas.errors import PermanentError

log = logging.getLogger("diffusion.api")

LOOK_S: Final = 5.0
"""How soon a key that was taken out of the file is no longer believed."""

UNKNOWN_LOOK_S: Final = 1.0
"""Tokens of unknown keys make the file be looked at, but not more often than that."""

KEYS_MAX: Final = 32
FILE_BYTES_MAX: Final = 65_536
"""A key set of thirty RSA keys of 4,096 bits takes 25 KB."""

RSA_BITS_MIN: Final = 2_048
"""RFC 7518 section 3.3."""

HMAC: Final = "HS256"
ALGORITHMS: Final[Mapping[tuple[str, str | None], str]] = {
    ("oct", None): HMAC,
    ("RSA", None): "RS256",
    ("OKP", "Ed25519"): "EdDSA",
}
"""By the type of a key, and its curve."""


class UnusableKeys(PermanentError):
    """The key set cannot be used; the message says where and why."""


class Key(NamedTuple):
    """A key, and the only algorithm it is good for."""

    algorithm: str
    key: Any


class Keys(Protocol):
    """Where keys come from."""

    def refresh(self) -> bool:
        """Look whether they changed, if it is time to; True if they did."""

    def find(self, kid: str | None) -> Key | None:
        """The key of an id; of no id, the key if there is one only."""


def keys_of(settings: ApiSettings) -> Keys:
    """The keys that the settings name. Raises `UnusableKeys`."""
    if settings.jwt_keys_file is not None:
        return KeyFile(settings.jwt_keys_file)
    return OneSecret(settings.jwt_secret.get_secret_value())


class OneSecret:
    """The secret of the settings, whatever id a token names."""

    def __init__(self, secret: str) -> None:
        self._key = Key(HMAC, secret)

    def refresh(self) -> bool:
        """It never changes."""
        return False

    def find(self, _kid: str | None) -> Key | None:
        """Give the secret."""
        return self._key


class KeyFile:
    """A key set in a file. For one event loop. Raises `UnusableKeys` if it is no good at first."""

    def __init__(self, path: Path, steady_s: Callable[[], float] = monotonic_s) -> None:
        self._path = path
        self._steady_s = steady_s
        self._seen = self._stamp()
        self._keys = read(path)
        self._looked_s = steady_s()

    def refresh(self) -> bool:
        """Read the file again if it changed since it was looked at last."""
        return self._look(LOOK_S)

    def find(self, kid: str | None) -> Key | None:
        """The key of an id, which may just have been added."""
        if kid not in self._keys:
            if kid is None and len(self._keys) == 1:
                return next(iter(self._keys.values()))
            self._look(UNKNOWN_LOOK_S)
        return self._keys.get(kid or "")

    def _look(self, every_s: float) -> bool:
        now_s = self._steady_s()
        if now_s - self._looked_s < every_s:
            return False
        self._looked_s = now_s
        stamp = self._stamp()
        if stamp == self._seen:
            return False
        self._seen = stamp
        try:
            self._keys = read(self._path)
        except UnusableKeys as error:
            log.error("The keys stay as they were: %s", error)  # noqa: TRY400  # the sentence is all
            return False
        return True

    def _stamp(self) -> tuple[int, ...] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


def read(path: Path) -> dict[str, Key]:
    """Read a key set: keys by id, or one under "" if it is alone and has none."""
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise UnusableKeys(f"The key set {path} cannot be read: {error.strerror}.") from error
    if len(raw) > FILE_BYTES_MAX:
        raise UnusableKeys(f"The key set {path} is larger than {FILE_BYTES_MAX:,} bytes.")
    try:
        whole = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise UnusableKeys(f"The key set {path} is no JSON: {error}.") from error
    listed = whole.get("keys") if isinstance(whole, dict) else None
    if not isinstance(listed, list) or not 0 < len(listed) <= KEYS_MAX:
        raise UnusableKeys(f'The key set {path} needs a list "keys" of 1 to {KEYS_MAX} keys.')
    found: dict[str, Key] = {}
    for number, one in enumerate(listed, 1):
        where = f"Key {number} of {path}"
        kid = one.get("kid", "") if isinstance(one, dict) else None
        if not isinstance(kid, str) or (not kid and len(listed) > 1):
            raise UnusableKeys(f'{where} needs an id ("kid") to be told from the others.')
        if kid in found:
            raise UnusableKeys(f"{where} has the id of another one: {kid}.")
        found[kid] = _key(one, where)
    return found


def _key(one: dict[str, Any], where: str) -> Key:
    kind, curve = one.get("kty"), one.get("crv")
    algorithm = ALGORITHMS.get((kind, curve)) if isinstance(kind, str) else None
    if (
        algorithm is None
        or one.get("alg", algorithm) != algorithm
        or one.get("use", "sig") != "sig"
    ):
        raise UnusableKeys(
            f"{where} is none that signs tokens here: HS256 (oct), RS256 (RSA) and EdDSA (OKP, "
            "Ed25519) do."
        )
    if algorithm != HMAC and "d" in one:
        raise UnusableKeys(f"{where} is a private key: put its public half there.")
    try:
        key = jwt.PyJWK(one, algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise UnusableKeys(f"{where} cannot be read: {error}.") from error
    if isinstance(key, bytes) and len(key) < SECRET_BYTES_MIN:
        raise UnusableKeys(f"{where} is shorter than {SECRET_BYTES_MIN} bytes.")
    if isinstance(key, RSAPublicKey) and key.key_size < RSA_BITS_MIN:
        raise UnusableKeys(f"{where} has fewer than {RSA_BITS_MIN:,} bits.")
    return Key(algorithm, key)
