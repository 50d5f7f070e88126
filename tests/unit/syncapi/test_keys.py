"""Key sets: what signs, what is refused, and how keys are rotated under a running process."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from jwt.algorithms import HMACAlgorithm, OKPAlgorithm, RSAAlgorithm
from pydantic import SecretStr

from infra.api_settings import ApiSettings
from schemas.errors import PermanentError
from syncapi.auth import Authenticator, NotAuthenticated, OtherDevice, issue
from syncapi.keys import KEYS_MAX, LOOK_S, UNKNOWN_LOOK_S, KeyFile, UnusableKeys, read

RSA_KEY = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
WEAK_KEY = rsa.generate_private_key(public_exponent=65_537, key_size=1_024)
ED_KEY = ed25519.Ed25519PrivateKey.generate()
SECRET = b"0123456789abcdef0123456789abcdef"


def jwk(kid: str, key: Any) -> dict[str, Any]:
    kinds: list[tuple[type, Any]] = [
        (bytes, HMACAlgorithm),
        ((rsa.RSAPublicKey, rsa.RSAPrivateKey), RSAAlgorithm),  # type: ignore[list-item]
        (object, OKPAlgorithm),
    ]
    algorithm = next(algorithm for kind, algorithm in kinds if isinstance(key, kind))
    return {"kid": kid, **json.loads(algorithm.to_jwk(key))}


GOOD = {
    "shared": jwk("shared", SECRET),
    "rsa": jwk("rsa", RSA_KEY.public_key()),
    "ed": jwk("ed", ED_KEY.public_key()),
}
for one in GOOD.values():
    one.pop("key_ops", None)


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    path = tmp_path / "keys.json"

    def write(*keys: Any, raw: bytes | None = None) -> Path:
        aside = tmp_path / "keys.new"
        aside.write_bytes(json.dumps({"keys": keys}).encode() if raw is None else raw)
        aside.replace(path)  # as an operator should: never half a file
        return path

    return write


def bearer(kid: str | None, key: Any, algorithm: str, **claims: Any) -> str:
    said = {"sub": "ann", "aud": "diffusion-sync", "exp": int(time.time()) + 600, **claims}
    headers = {"kid": kid} if kid is not None else None
    return f"Bearer {jwt.encode(said, key, algorithm=algorithm, headers=headers)}"


SIGNED = {
    "shared": ("shared", SECRET, "HS256"),
    "rsa": ("rsa", RSA_KEY, "RS256"),
    "ed": ("ed", ED_KEY, "EdDSA"),
}


def authenticator(path: Path, **settings: Any) -> Authenticator:
    return Authenticator(ApiSettings(jwt_keys_file=path, **settings))


@pytest.mark.parametrize("name", SIGNED)
def test_each_kind_of_key_signs(written: Callable[..., Path], name: str) -> None:
    auth = authenticator(written(*GOOD.values()))
    assert auth.user_of(bearer(*SIGNED[name])) == "ann"


@pytest.mark.parametrize("name", SIGNED)
def test_a_key_alone_needs_no_id(written: Callable[..., Path], name: str) -> None:
    nameless = {part: value for part, value in GOOD[name].items() if part != "kid"}
    _, key, algorithm = SIGNED[name]
    assert authenticator(written(nameless)).user_of(bearer(None, key, algorithm)) == "ann"


def test_the_algorithm_is_the_keys_and_not_the_tokens(written: Callable[..., Path]) -> None:
    """The public key is public: whoever signs with it as if it were a secret proves nothing."""
    auth = authenticator(written(*GOOD.values()))
    for kid in ("rsa", "ed"):
        with pytest.raises(NotAuthenticated, match="alg"):
            auth.user_of(bearer(kid, SECRET, "HS256"))
    with pytest.raises(NotAuthenticated, match="alg"):
        auth.user_of(bearer("shared", RSA_KEY, "RS256"))


def test_no_signature_is_none(written: Callable[..., Path]) -> None:
    auth = authenticator(written(GOOD["rsa"]))
    with pytest.raises(NotAuthenticated):
        auth.user_of(bearer("rsa", None, "none"))


def test_another_key_of_the_same_kind_is_refused(written: Callable[..., Path]) -> None:
    other = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    with pytest.raises(NotAuthenticated, match="Signature"):
        authenticator(written(GOOD["rsa"])).user_of(bearer("rsa", other, "RS256"))


@pytest.mark.parametrize("kid", ["unknown", None])
def test_an_unknown_key_is_refused(written: Callable[..., Path], kid: str | None) -> None:
    with pytest.raises(NotAuthenticated, match="not known here"):
        authenticator(written(*GOOD.values())).user_of(bearer(kid, SECRET, "HS256"))


def test_the_secret_of_the_settings_is_none_beside_a_key_set(
    written: Callable[..., Path],
) -> None:
    good = issue(ApiSettings(), "ann", now_ms=time.time_ns() // 1_000_000, lifetime_s=600)
    with pytest.raises(NotAuthenticated, match="not known here"):
        authenticator(written(GOOD["rsa"], GOOD["ed"])).user_of(f"Bearer {good}")


REFUSED = {
    "a private key": (jwk("rsa", RSA_KEY), "public half"),
    "a private curve": (jwk("ed", ED_KEY), "public half"),
    "few bits": (jwk("weak", WEAK_KEY.public_key()), "2,048 bits"),
    "a short secret": (jwk("short", b"short"), "32 bytes"),
    "for encryption": ({**GOOD["rsa"], "use": "enc"}, "none that signs"),
    "another algorithm": ({**GOOD["rsa"], "alg": "RS512"}, "none that signs"),
    "another type": ({**GOOD["ed"], "kty": "EC"}, "none that signs"),
    "another curve": ({**GOOD["ed"], "crv": "X25519"}, "none that signs"),
    "a type that is none": ({**GOOD["ed"], "kty": ["RSA"]}, "none that signs"),
    "half a key": ({"kid": "rsa", "kty": "RSA", "n": "AQAB"}, "cannot be read"),
    "no object": (5, "needs an id"),
    "no text for an id": ({**GOOD["ed"], "kid": 5}, "needs an id"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_key_that_is_none_is_a_sentence(written: Callable[..., Path], name: str) -> None:
    key, reason = REFUSED[name]
    with pytest.raises(UnusableKeys, match=reason):
        read(written(GOOD["shared"], key))


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"{", "no JSON"),
        (b"[]", "needs a list"),
        (b'{"keys": []}', "needs a list"),
        (b'{"keys": {}}', "needs a list"),
        (json.dumps({"keys": [GOOD["ed"]] * (KEYS_MAX + 1)}).encode(), "needs a list"),
        (json.dumps({"keys": [GOOD["ed"]] * 2}).encode(), "id of another"),
        (b" " * 70_000, "larger than"),
    ],
)
def test_a_file_that_is_no_key_set_is_a_sentence(
    written: Callable[..., Path], raw: bytes, reason: str
) -> None:
    with pytest.raises(UnusableKeys, match=reason):
        read(written(raw=raw))


def test_a_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UnusableKeys, match="cannot be read"):
        KeyFile(tmp_path / "none.json")


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def rotating(path: Path) -> tuple[Authenticator, Clock]:
    clock, auth = Clock(), authenticator(path)
    auth._keys = KeyFile(path, clock)
    return auth, clock


def test_a_key_that_was_added_is_known_at_once(written: Callable[..., Path]) -> None:
    auth, clock = rotating(written(GOOD["rsa"]))
    written(GOOD["rsa"], GOOD["ed"])
    clock.now_s += UNKNOWN_LOOK_S
    assert auth.user_of(bearer(*SIGNED["ed"])) == "ann"
    assert auth.user_of(bearer(*SIGNED["rsa"])) == "ann"


def test_unknown_keys_do_not_have_the_file_read_each_time(
    written: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(GOOD["rsa"])
    auth, clock = rotating(path)
    looks: list[Path] = []
    real = Path.stat
    monkeypatch.setattr(
        Path, "stat", lambda self, **more: (looks.append(self), real(self, **more))[1]
    )
    for _ in range(50):
        clock.now_s += UNKNOWN_LOOK_S / 25
        with pytest.raises(NotAuthenticated):
            auth.user_of(bearer("unknown", SECRET, "HS256"))
    assert len(looks) <= 3


def test_a_key_that_was_taken_out_is_believed_no_longer(written: Callable[..., Path]) -> None:
    auth, clock = rotating(written(GOOD["rsa"], GOOD["ed"]))
    old = bearer(*SIGNED["rsa"])
    assert auth.user_of(old) == "ann"
    written(GOOD["ed"])
    assert auth.user_of(old) == "ann", "remembered, until it is time to look"
    clock.now_s += LOOK_S
    with pytest.raises(NotAuthenticated, match="not known here"):
        auth.user_of(old)


def test_a_broken_file_changes_nothing(
    written: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    auth, clock = rotating(written(GOOD["rsa"]))
    written(raw=b"{")
    with caplog.at_level(logging.ERROR, "diffusion.api"):
        for _ in range(3):
            clock.now_s += LOOK_S
            assert auth.user_of(bearer(*SIGNED["rsa"])) == "ann"
    assert len(caplog.messages) == 1, "said once"
    assert "no JSON" in caplog.text
    written(GOOD["ed"])
    clock.now_s += LOOK_S
    assert auth.user_of(bearer(*SIGNED["ed"])) == "ann"


def test_a_file_that_is_gone_changes_nothing(written: Callable[..., Path]) -> None:
    path = written(GOOD["rsa"])
    auth, clock = rotating(path)
    path.unlink()
    clock.now_s += LOOK_S
    assert auth.user_of(bearer(*SIGNED["rsa"])) == "ann"


# Devices, leeway, settings.


def test_a_token_of_a_device_is_good_for_that_device_only(written: Callable[..., Path]) -> None:
    auth = authenticator(written(GOOD["ed"]))
    identity = auth.identify(bearer(*SIGNED["ed"], device_id="phone"))
    identity.check("phone")
    with pytest.raises(OtherDevice, match="another device"):
        identity.check("tablet")
    auth.identify(bearer(*SIGNED["ed"])).check("tablet")


@pytest.mark.parametrize("device_id", [None, "", 5, "x" * 1_000, ["phone"]])
def test_a_device_may_be_required(written: Callable[..., Path], device_id: object) -> None:
    auth = authenticator(written(GOOD["ed"]), jwt_device_required=True)
    claims = {} if device_id is None else {"device_id": device_id}
    with pytest.raises(NotAuthenticated, match="device_id"):
        auth.identify(bearer(*SIGNED["ed"], **claims))
    assert auth.identify(bearer(*SIGNED["ed"], device_id="phone")).device_id == "phone"


def test_the_leeway_is_a_setting(written: Callable[..., Path]) -> None:
    path, late = written(GOOD["ed"]), int(time.time()) - 20
    assert authenticator(path).user_of(bearer(*SIGNED["ed"], exp=late)) == "ann"
    with pytest.raises(NotAuthenticated, match="expired"):
        authenticator(path, jwt_leeway_s=5).user_of(bearer(*SIGNED["ed"], exp=late))


def test_who_has_no_key_cannot_issue(written: Callable[..., Path]) -> None:
    with pytest.raises(PermanentError, match="ask there"):
        issue(ApiSettings(jwt_keys_file=written(GOOD["ed"])), "ann", now_ms=0, lifetime_s=60)


def test_off_loopback_a_key_set_needs_a_secret_for_cursors(written: Callable[..., Path]) -> None:
    path = written(GOOD["ed"])
    with pytest.raises(ValueError, match="cursor_secret"):
        ApiSettings(host="0.0.0.0", jwt_keys_file=path)
    ApiSettings(host="0.0.0.0", jwt_keys_file=path, cursor_secret=SecretStr("x" * 32))
