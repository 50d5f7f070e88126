"""One request of a number, good or bad, as bytes; drawn from seed and number alone."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

import msgspec

from diffusion.fuzz import handshakes, hostile, mutate
from diffusion.fuzz.asked import BREAKS_OFF, TOO_LONG, Asked, Known, http, request
from schemas import limits
from schemas.encoding import Coding, Format, compress, encode


def draw(seed: int, number: int, known: Known) -> Asked:
    """Draw the request of a number."""
    rng = random.Random(f"request/{seed}/{number}")  # noqa: S311  # to be drawn again
    ((kind, make),) = rng.choices(_KINDS, _WEIGHTS)
    return make(rng, known)._replace(kind=kind)


def _good(rng: random.Random, known: Known) -> Asked:
    form = rng.choice(tuple(Format))
    coding = rng.choice(tuple(Coding))
    headers = {
        "Content-Type": form.value,
        "Content-Encoding": coding.token if coding else "",
        "Accept": rng.choice(("", "*/*", *(one.value for one in Format))),
        "Accept-Encoding": rng.choice(("", "gzip", "zstd, gzip;q=0.5", "deflate", "*")),
    }
    body = compress(encode(request(rng, known), form), coding)
    return Asked(http(known, body, headers), good=True)


def _body(rng: random.Random, known: Known) -> Asked:
    """A body that is nearly a request."""
    form = rng.choice(tuple(Format))
    good = request(rng, known)
    match rng.randrange(4):
        case 0:
            body = mutate.data(rng, encode(good, form))
        case 1:
            body = rng.choice(hostile.unreadable_bodies(form))
        case 2:
            body = rng.choice(tuple(hostile.unfit_requests(form)))
        case _:
            changed = mutate.changed(rng, good)
            body = (msgspec.json if form is Format.JSON else msgspec.msgpack).encode(changed)
    closes = TOO_LONG if len(body) > limits.REQUEST_BYTES_MAX else ""
    return Asked(http(known, body, {"Content-Type": form.value}), closes)


def _coded(rng: random.Random, known: Known) -> Asked:
    """Bodies that do not unpack, unpack to too much, or are packed in an unknown way."""
    plain = encode(request(rng, known), Format.JSON)
    coding = rng.choice((Coding.DEFLATE, Coding.GZIP, Coding.ZSTD))
    packed, name = compress(plain, coding), coding.token
    match rng.randrange(6):
        case 0:
            packed = mutate.data(rng, packed)
        case 1:
            packed = hostile.bomb(coding, rng.choice((2**18, 2**24, 2**28)))
        case 2:
            name = rng.choice(("br", "compress", "zstd, gzip", "gzip, gzip", "x", "\xe9", "*"))
        case 3:
            packed = packed[: rng.randrange(len(packed))]
        case 4:
            packed = compress(packed, coding)
        case _:
            packed = packed + packed
    closes = TOO_LONG if len(packed) > limits.REQUEST_BYTES_MAX else ""
    return Asked(http(known, packed, {"Content-Encoding": name}), closes)


_WORDS: Final = (
    "application/json", "application/msgpack", "text/plain", "*/*", "application/*", "gzip", "br",
    "zstd", "identity", "*", ";q=0", ";q=1", ";q=.5", ";q=", ";q=1e9", ",", ";", " ", "\t", "\xe9",
    '"', "x" * 2_000, "charset=utf-16",
)  # fmt: skip


def _headers(rng: random.Random, known: Known) -> Asked:
    """Headers that cannot be agreed on, come twice, or are missing."""
    names = ("Content-Type", "Content-Encoding", "Accept", "Accept-Encoding", "Host", "Expect",
             "Connection", "X-New", "Cookie", "Range", "Upgrade", "Forwarded")  # fmt: skip
    headers = {
        name: "".join(rng.choices(_WORDS, k=rng.randrange(5))).strip()
        for name in rng.sample(names, rng.randint(1, 3))
    }
    if rng.random() < 0.2:
        headers["Authorization"] = ""
    twice = b""
    if rng.random() < 0.3:
        value = rng.choice((known.bearer, "x", *known.strangers))
        twice = rng.choice(
            (
                b"content-type: application/msgpack\r\n",
                b"accept: text/html\r\n",
                b"authorization: Bearer " + value.encode("latin-1") + b"\r\n",
                b"x-many: 1\r\n" * 500,
                b"content-encoding: gzip\r\n",
            )
        )
    body = encode(request(rng, known), Format.JSON)
    # `Connection: close` is the client's wish, and `Upgrade` another protocol's.
    return Asked(http(known, body, headers, extra=twice))


def _framed(rng: random.Random, known: Known) -> Asked:
    """Where the head or the body ends is not clear, or it never does."""
    body = encode(request(rng, known), Format.JSON)
    length = rng.choice(("-1", "0", "1", "99", "9" * 30, "1, 1", "0x10", "", " ", "1e3", "\xb2"))
    chunks = rng.choice((b"5\r\n{", b"-1\r\n", b"ffffffffffffffffff\r\n", b"0\r\n", b"zz\r\n\r\n",
                         b"1;" + b"x" * 70_000, b"1\r\n{\r\n" * 50, b"0\r\n" + b"x: y\r\n" * 20_000,
                         b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"))  # fmt: skip
    chunked = {"Content-Length": "", "Transfer-Encoding": rng.choice(("chunked", "chunked, x"))}
    whole = http(known, body)
    data = rng.choice(
        (
            http(known, body, {"Content-Length": length}),
            http(known, body, {"Content-Length": "1"}, extra=b"Content-Length: 99\r\n"),
            http(known, chunks, chunked),
            http(known, chunks, {"Transfer-Encoding": "chunked"}),
            whole[: rng.randrange(len(whole))],
            http(known, body, {"X-Long": "x" * 70_000}),
            whole.replace(b"\r\n", b"\n"),
            whole.replace(b": ", b" : "),
            http(known, body, extra=b" folded\r\n"),
            http(known, body, extra=b"no colon\r\n"),
            http(known, body, extra=b"nul\x00: \x00\r\n"),
            mutate.data(rng, whole),
            whole + mutate.data(rng, whole),
        )
    )
    return Asked(data, BREAKS_OFF, ends=True)


def _bearer(rng: random.Random, known: Known) -> Asked:
    """Tokens of nobody."""
    token = known.bearer
    changed = rng.choice(
        (
            *known.strangers,
            token[:-2],
            token[1:],
            token + "x" * 5_000,
            mutate.data(rng, token.encode()).decode("latin-1"),
            "",
            "a.b.c",
            "....",
        )
    )
    text = "".join(char for char in changed if char.isprintable() and char.isascii())
    scheme = rng.choice(("Bearer", "bearer", "Basic", "", "Bearer Bearer"))
    headers = {"Authorization": f"{scheme} {text}".strip() or "x"}
    return Asked(http(known, encode(request(rng, known), Format.JSON), headers))


def _tokens(rng: random.Random, known: Known) -> Asked:
    """Cursors and page tokens that are damaged, another's, or of the other kind."""
    damaged = mutate.data(rng, rng.choice((known.cursor, known.page)).encode()).decode("latin-1")
    token = rng.choice(
        (known.page, known.cursor, known.foreign_cursor, known.foreign_page, damaged, damaged,
         damaged, "x" * limits.CURSOR_CHARS_MAX, "A" * rng.randint(1, 300))
    )  # fmt: skip
    other = rng.choice((known.cursor, known.page))
    fields: dict[str, Any] = {"device_id": "fuzz", rng.choice(("cursor", "page")): token}
    if rng.random() < 0.3:
        fields[rng.choice(("cursor", "page"))] = other
    return Asked(http(known, msgspec.json.encode(fields)))


def _corrections(rng: random.Random, known: Known) -> Asked:
    """Sketches, digests and ranges that are noise."""

    def rows(count: int) -> list[Any]:
        return [[[rng.choice((0, 1, 8, 32, 33)), rng.choice((0, 1, 255, 2**32 - 1, 2**32))],
                 rng.randbytes(rng.randrange(40))] for _ in range(count)]  # fmt: skip

    correct = rng.choice(
        (
            {"sketch": rng.randbytes(rng.choice((0, 1, 10, 40, 400, 4_000, 40_960)))},
            {"sketch": bytes(10 * rng.randrange(2_000))},
            {"sketch": b"\xff" * 10 * rng.randrange(1, 2_000)},
            {"listed": rows(rng.randrange(60))},
            {"split": [one for one, _ in rows(rng.randrange(60))]},
            {"split": [[0, 0]] * limits.RANGES_MAX},
            {"split": [[32, number] for number in range(1_000)]},
            {"listed": [[[0, 0], rng.randbytes(4 * 10_000)]]},
            {"sketch": rng.randbytes(400), "listed": rows(3), "split": [[0, 0]]},
        )
    )
    fields: dict[str, Any] = {"device_id": "fuzz", "cursor": known.cursor, "correct": correct}
    if rng.random() < 0.5:
        fields["root"] = rng.randbytes(rng.choice((0, 15, limits.ROOT_BYTES, limits.ROOT_BYTES)))
    if rng.random() < 0.2:
        del fields["cursor"]
    return Asked(
        http(known, msgspec.msgpack.encode(fields), {"Content-Type": Format.MSGPACK.value}),
    )


def _elsewhere(rng: random.Random, known: Known) -> Asked:
    """Other methods and paths."""
    method = rng.choice(("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "POST"))
    path = rng.choice(
        ("/", "/v1", "/v1/sync", "/v1/sync/", "/v1//sync", "/v2/sync", "/v1/connect", "/healthz",
         "/readyz", "/..%2f..%2fetc%2fpasswd", "/%ff%00", "/%", "/%zz", "*", "/v1/sync?x=1",
         "/v1/sync?" + "x" * 3_000, "/schema/x", "/v1/sync#x", "http://else.where/v1/sync",
         "/" + "a/" * 500, "/\u00e9")
    )  # fmt: skip
    body = rng.choice((b"", encode(request(rng, known), Format.JSON)))
    data = http(known, body, line=f"{method} {path} HTTP/1.1")
    return Asked(data, head_only=method == "HEAD")


def _no_http(rng: random.Random, known: Known) -> Asked:
    """Bytes of another protocol, or of none."""
    data = rng.choice(
        (
            rng.randbytes(rng.randint(1, 400)),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(200),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"EHLO example.com\r\n",
            b"GET /\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"\r\n" * 50,
            b"\x00" * 3_000,
            b"A" * 70_000,
            f"POST  /v1/sync  HTTP/1.1\r\nHost: {known.host}\r\n\r\n".encode(),
            b"POST /v1/sync HTTP/1.0\r\n\r\n",
        )
    )
    return Asked(data, BREAKS_OFF, ends=True)


def _large(rng: random.Random, known: Known) -> Asked:
    """Bodies far above their bound."""
    size = rng.choice((limits.REQUEST_BYTES_MAX + 1, 400_000, 2_000_000))
    body = b'{"device_id": "' + b"x" * size + b'"}'
    headers = {} if rng.random() < 0.8 else {"Authorization": "Bearer x"}
    return Asked(http(known, body, headers), TOO_LONG)


_MADE: Final[dict[str, tuple[Callable[[random.Random, Known], Asked], int]]] = {
    "good": (_good, 25),
    "body": (_body, 18),
    "coded": (_coded, 8),
    "headers": (_headers, 10),
    "framed": (_framed, 8),
    "bearer": (_bearer, 6),
    "tokens": (_tokens, 8),
    "corrections": (_corrections, 5),
    "elsewhere": (_elsewhere, 5),
    "no http": (_no_http, 4),
    "large": (_large, 1),
    "handshakes": (handshakes.refused, 3),
    "sockets": (handshakes.standing, 5),
}
"""How requests are made, and in which proportion."""

_KINDS: Final = tuple((kind, make) for kind, (make, _) in _MADE.items())
_WEIGHTS: Final = tuple(weight for _, weight in _MADE.values())
