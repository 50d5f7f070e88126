"""Formats, codings and binary frames: the same records back, and nothing but our errors for the rest."""

from __future__ import annotations

import base64
import random
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import suppress
from itertools import product
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from diffusion.fuzz import hostile
from schemas import encoding
from schemas.conversations import OwnState
from schemas.encoding import (
    CODINGS,
    COMPRESS_FROM_BYTES,
    FORMATS,
    ZSTD_WINDOW_BYTES_MAX,
    Coding,
    Format,
    check_version,
    codings,
    compress,
    decode,
    decode_request,
    decompress,
    encode,
    pack,
    shrink,
    unpack,
)
from schemas.errors import InputError, TooLargeError, UnreadableError, UnsupportedVersionError
from schemas.frames import ClientFrame, Problem, ServerFrame
from schemas.limits import REQUEST_BYTES_MAX
from schemas.protocol import (
    PROTOCOL_VERSION,
    SUPPORTED_VERSIONS,
    ConversationEntry,
    Correction,
    KeyRange,
    RangeDigests,
    RangeRows,
    Reason,
    SyncRequest,
    SyncResponse,
)

MAX = REQUEST_BYTES_MAX
PACKED = [coding for coding in Coding if coding is not Coding.IDENTITY]
REQUEST = SyncRequest(
    "phone",
    cursor="c" * 131,
    root=bytes(range(16)),
    correct=Correction(b"\xff" * 40, (RangeRows(KeyRange(4, 3), b"\x00\xff"),), (KeyRange(1, 1),)),
)
ANSWER = SyncResponse(
    "full",
    (ConversationEntry("sg_ü", 2**53 - 1, 4, 1_700_000_000_000, 2, OwnState(pinned=True)),),
    reason=Reason.TOO_MANY,
    root=b"\xfe" * 16,
    parts=(RangeDigests(KeyRange(0, 0), b"\x80" * 8),),
    gone=b"\x81",
)
RECORDS = [
    SyncRequest("phone"),
    REQUEST,
    ANSWER,
    ClientFrame(7, REQUEST),
    ClientFrame(0),
    ServerFrame(7, ANSWER),
    ServerFrame(problem=Problem(400, "no", supported=(1,))),
    ServerFrame(poke=True),
]


# Records.


@pytest.mark.parametrize(("record", "form"), list(product(RECORDS, Format)))
def test_a_record_comes_back(record: Any, form: Format) -> None:
    assert decode(encode(record, form), type(record), form) == record


def test_a_media_type_stands_for_each_format() -> None:
    assert set(FORMATS.values()) == set(Format)
    assert all(FORMATS[form.value] is form for form in Format)


@pytest.mark.parametrize("form", Format)
def test_unknown_fields_are_ignored(form: Format) -> None:
    data = hostile.write(
        {"device_id": "phone", "new": {"deep": [1, "x", None]}, "\u00fc": 2**60}, form
    )
    assert decode_request(data, form) == SyncRequest("phone")


@pytest.mark.parametrize("form", Format)
def test_what_does_not_fit_is_said_with_a_reason(form: Format) -> None:
    for data in (*hostile.unreadable_bodies(form), *hostile.unfit_requests(form)):
        with pytest.raises(UnreadableError) as caught:
            decode_request(data, form)
        assert 0 < len(str(caught.value)) < 300, data[:60]


def test_the_reason_names_the_place() -> None:
    with pytest.raises(UnreadableError, match=r"changes_max"):
        decode(b'{"device_id": "x", "changes_max": 0}', SyncRequest, Format.JSON)


@given(st.binary(max_size=200), st.sampled_from(Format))
def test_no_bytes_raise_anything_else(data: bytes, form: Format) -> None:
    for kind in (SyncRequest, SyncResponse, ClientFrame, ServerFrame):
        with suppress(UnreadableError):
            decode(data, kind, form)


# Versions.


@pytest.mark.parametrize(("version", "form"), list(product(hostile.UNSUPPORTED, Format)))
def test_an_unknown_version_is_refused_with_the_known_ones(version: int, form: Format) -> None:
    data = hostile.write({"device_id": "phone", "v": version}, form)
    with pytest.raises(UnsupportedVersionError, match=r"1") as caught:
        decode_request(data, form)
    assert caught.value.supported == SUPPORTED_VERSIONS


@pytest.mark.parametrize("form", Format)
def test_the_version_is_said_even_when_the_rest_has_changed(form: Format) -> None:
    data = hostile.write({"device": 7, "cursor": ["x"], "v": 2}, form)
    with pytest.raises(UnsupportedVersionError):
        decode_request(data, form)


def test_a_version_of_thousands_of_digits_is_one_sentence() -> None:
    data = b'{"device_id": "phone", "v": ' + b"9" * 4_000 + b"}"
    with pytest.raises(UnsupportedVersionError) as caught:
        decode_request(data, Format.JSON)
    assert len(str(caught.value)) < 200


def test_versions_that_are_spoken_pass() -> None:
    for version in SUPPORTED_VERSIONS:
        check_version(SyncRequest("phone", v=version))


# Compression.


def test_codings_have_the_names_of_http() -> None:
    assert {coding.token: int(coding) for coding in Coding} == {
        "identity": 0,
        "deflate": 1,
        "zstd": 2,
        "gzip": 3,
    }
    assert codings() == (Coding.ZSTD, Coding.DEFLATE, Coding.GZIP, Coding.IDENTITY)
    assert set(CODINGS.values()) == set(Coding)


@given(st.binary(min_size=1, max_size=5_000), st.sampled_from(Coding), st.integers(1, 40))
def test_what_is_packed_comes_back(data: bytes, coding: Coding, times: int) -> None:
    data *= times
    assert decompress(compress(data, coding), coding, len(data)) == data


@pytest.mark.parametrize("coding", Coding)
def test_the_bound_is_inclusive(coding: Coding) -> None:
    data = random.Random(1).randbytes(700) * 3
    packed = compress(data, coding)
    assert decompress(packed, coding, len(data)) == data
    for bound in (len(data) - 1, 1, 0):
        with pytest.raises(TooLargeError, match=f"{bound:,}"):
            decompress(packed, coding, bound)


def without_size(data: bytes, **parameters: int) -> bytes:
    """A zstd frame as one that streams writes it: it does not say how long the content is."""
    made = zstandard.ZstdCompressionParameters.from_level(3, write_content_size=0, **parameters)
    packer = zstandard.ZstdCompressor(compression_params=made).compressobj()
    return packer.compress(data) + packer.flush()


def test_a_streamed_zstd_frame_is_read_to_the_same_bound() -> None:
    data = random.Random(1).randbytes(700) * 3
    packed = without_size(data)
    assert decompress(packed, Coding.ZSTD, len(data)) == data
    with pytest.raises(TooLargeError):
        decompress(packed, Coding.ZSTD, len(data) - 1)
    with pytest.raises(UnreadableError):
        decompress(packed[:-1], Coding.ZSTD, MAX)


def test_a_zstd_window_above_the_bound_is_refused() -> None:
    data = random.Random(1).randbytes(MAX)
    log = ZSTD_WINDOW_BYTES_MAX.bit_length() - 1
    assert decompress(without_size(data, window_log=log), Coding.ZSTD, MAX) == data
    with pytest.raises(UnreadableError):
        decompress(without_size(data, window_log=log + 1), Coding.ZSTD, MAX)


@pytest.mark.parametrize("coding", PACKED)
def test_damage_is_an_error_of_ours_or_is_other_bytes(coding: Coding) -> None:
    rng = random.Random(7)
    packed = compress(encode(REQUEST, Format.MSGPACK) * 4, coding)
    for data in hostile.flipped(packed, rng, 5_000):
        with suppress(UnreadableError, TooLargeError):
            assert len(decompress(data, coding, MAX)) <= MAX


@given(st.binary(max_size=300), st.sampled_from(Coding), st.integers(0, 100))
def test_no_bytes_unpack_to_more_than_the_bound(data: bytes, coding: Coding, bound: int) -> None:
    with suppress(UnreadableError, TooLargeError):
        assert 0 < len(decompress(data, coding, bound)) <= bound


@pytest.mark.parametrize("coding", PACKED)
def test_what_is_cut_off_or_followed_by_more_is_damaged(coding: Coding) -> None:
    packed = compress(b"some bytes " * 9, coding)
    cut = [packed[:length] for length in range(len(packed))]
    more = hostile.followed(packed, random.Random(7), 100)
    for data in (*cut, *more, packed + packed, b"x" + packed):
        with pytest.raises(UnreadableError):
            decompress(data, coding, MAX)


@pytest.mark.parametrize("coding", Coding)
def test_nothing_is_no_record(coding: Coding) -> None:
    for data in (b"", compress(b"", coding)):
        with pytest.raises(UnreadableError):
            decompress(data, coding, MAX)


@pytest.mark.parametrize("coding", PACKED)
def test_a_gigabyte_of_zeros_stays_within_the_bound(coding: Coding) -> None:
    packed = hostile.bomb(coding, 2**30)
    tracemalloc.start()
    try:
        with pytest.raises(TooLargeError):
            decompress(packed, coding, MAX)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The output, and what is left of the input: zlib hands it back.
    assert peak < 4 * MAX + len(packed)


@pytest.mark.parametrize("coding", PACKED)
def test_a_bomb_is_what_it_says(coding: Coding) -> None:
    size = 2**20
    packed = hostile.bomb(coding, size)
    if coding is Coding.ZSTD:
        assert decompress(packed, coding, size) == bytes(size)
    else:
        wbits = zlib.MAX_WBITS | (16 if coding is Coding.GZIP else 0)
        assert zlib.decompressobj(wbits).decompress(packed) == bytes(size)


def test_a_zstd_frame_that_lies_about_its_length_makes_no_more() -> None:
    packed = bytearray(compress(bytes(100_000), Coding.ZSTD))
    assert zstandard.get_frame_parameters(bytes(packed)).content_size == 100_000
    at = bytes(packed).index((100_000 - 0).to_bytes(4, "little"))
    packed[at : at + 4] = (50).to_bytes(4, "little")
    with pytest.raises((UnreadableError, TooLargeError)):
        decompress(bytes(packed), Coding.ZSTD, 1_000)


# What pays.


def chats(count: int) -> SyncResponse:
    """A delta as the contract counts it: one-to-one chats of ten-digit users, and a cursor."""
    rng = random.Random(count)
    entries = [
        ConversationEntry(
            f"si_1000000001_{rng.randrange(1_000_000_002, 1_999_999_999)}",
            (3 << 43) | rng.randrange(10**9),
            rng.randrange(1, 20_000),
            1_795_000_000_000 + rng.randrange(86_400_000),
        )
        for _ in range(count)
    ]
    token = base64.urlsafe_b64encode(rng.randbytes(98)).decode().rstrip("=")
    return SyncResponse(
        "delta",
        tuple(sorted(entries, key=lambda entry: -entry.version)),
        cursor=token if count else None,
        server_time_ms=1_795_086_400_123,
    )


@pytest.mark.parametrize(("form", "coding"), list(product(Format, PACKED)))
def test_an_answer_of_twenty_chats_is_below_a_thousand_bytes(form: Format, coding: Coding) -> None:
    answer = chats(20)
    assert len(answer.cursor or "") == 131
    body, used = shrink(encode(answer, form), coding)
    assert used is coding
    assert len(body) <= 1_000


@pytest.mark.parametrize("form", Format)
def test_an_answer_of_nothing_is_at_most_sixty_four_bytes(form: Format) -> None:
    body = encode(chats(0), form)
    assert len(body) <= 64
    assert shrink(body, Coding.ZSTD) == (body, Coding.IDENTITY)


@pytest.mark.parametrize("coding", PACKED)
def test_only_what_gets_shorter_is_packed(coding: Coding) -> None:
    noise = random.Random(1).randbytes(COMPRESS_FROM_BYTES)
    assert shrink(noise, coding) == (noise, Coding.IDENTITY)
    plain = b"a" * COMPRESS_FROM_BYTES
    assert shrink(plain, coding) == (compress(plain, coding), coding)
    assert shrink(plain[1:], coding) == (plain[1:], Coding.IDENTITY)
    assert shrink(plain, Coding.IDENTITY) == (plain, Coding.IDENTITY)


# Without zstandard.


@pytest.fixture
def without_zstandard(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    encoding._zstandard.cache_clear()
    codings.cache_clear()
    yield
    encoding._zstandard.cache_clear()
    codings.cache_clear()


@pytest.mark.usefixtures("without_zstandard")
def test_a_device_without_zstandard_does_not_offer_it() -> None:
    assert codings() == (Coding.DEFLATE, Coding.GZIP, Coding.IDENTITY)
    with pytest.raises(UnreadableError, match="zstd"):
        decompress(b"\x28\xb5\x2f\xfd", Coding.ZSTD, MAX)
    assert unpack(pack(REQUEST, Coding.DEFLATE), SyncRequest, MAX) == REQUEST


def test_zstandard_is_not_imported_before_it_is_needed() -> None:
    program = "import sys, schemas.encoding; print('zstandard' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "False"


# Binary frames.


@pytest.mark.parametrize(("record", "coding"), list(product(RECORDS, Coding)))
def test_a_frame_comes_back(record: Any, coding: Coding) -> None:
    assert unpack(pack(record, coding), type(record), MAX) == record


def test_a_frame_is_version_coding_and_messagepack() -> None:
    ping = ClientFrame(7)
    assert pack(ping, Coding.ZSTD) == bytes((PROTOCOL_VERSION, 0)) + b"\x81\xa2id\x07"
    long = pack(ServerFrame(1, chats(20)), Coding.DEFLATE)
    assert long[:2] == bytes((PROTOCOL_VERSION, 1))
    assert zlib.decompress(long[2:]) == encode(ServerFrame(1, chats(20)), Format.MSGPACK)


@pytest.mark.parametrize("version", [0, 2, 123, 255])
def test_a_frame_of_another_version_is_refused_whatever_follows(version: int) -> None:
    for rest in (b"\x00\x81", b"\xff", b"\x01garbage"):
        with pytest.raises(UnsupportedVersionError) as caught:
            unpack(bytes((version,)) + rest, ClientFrame, MAX)
        assert caught.value.supported == SUPPORTED_VERSIONS


@pytest.mark.parametrize("coding", [4, 5, 200, 255])
def test_a_frame_in_an_unknown_coding_is_unreadable(coding: int) -> None:
    with pytest.raises(UnreadableError, match=str(coding)):
        unpack(bytes((PROTOCOL_VERSION, coding)) + b"\x81\xa2id\x07", ClientFrame, MAX)


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x01\x00", b"\x01\x02", b"\x01\x01\x81"])
def test_a_frame_that_is_too_short_is_unreadable(data: bytes) -> None:
    with pytest.raises(UnreadableError):
        unpack(data, ClientFrame, MAX)


@pytest.mark.parametrize("coding", Coding)
def test_a_frame_has_a_bound(coding: Coding) -> None:
    frame = pack(ServerFrame(1, chats(20)), coding)
    with pytest.raises(TooLargeError):
        unpack(frame, ServerFrame, 1_000)


@given(st.binary(max_size=60), st.sampled_from(Coding))
def test_no_frame_raises_anything_but_input_errors(data: bytes, coding: Coding) -> None:
    for frame in (data, bytes((PROTOCOL_VERSION, coding)) + data):
        with suppress(InputError):
            unpack(frame, ClientFrame, MAX)
