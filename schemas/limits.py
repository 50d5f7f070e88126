"""Every bound of the contract, with its reason; relations between them are asserted at import.

A bound lives here when both ends, or two programs, must agree on it. A bound that one program alone
keeps is a setting of that program (`infra.settings`).
"""

from __future__ import annotations

from typing import Final

SEQ_MAX: Final = 2**53 - 1
"""Largest sequence number: the largest integer that a JavaScript client reads exactly."""

EPOCH_BITS: Final = 10
"""1,023 incarnations of a topic: re-creations and repartitionings, which are rare and manual."""

OFFSET_BITS: Final = 43
"""8.8e12 records in one partition: 27 years at 10,000 records a second."""

EPOCH_MIN: Final = 1
"""Epochs start at 1, so that `version 0` is before everything."""

EPOCH_MAX: Final = 2**EPOCH_BITS - 1
OFFSET_MAX: Final = 2**OFFSET_BITS - 1

TIME_MS_MIN: Final = 946_684_800_000
"""2000-01-01: an earlier time is a unit error (seconds for milliseconds) or a broken clock."""

TIME_MS_MAX: Final = 4_102_444_800_000
"""2100-01-01: a later time is a unit error (microseconds for milliseconds) or a broken clock."""

USER_ID_CHARS_MAX: Final = 128
"""Twice an MD5 or UUID id; OpenIM's and Matrix's ids fit."""

CONVERSATION_ID_CHARS_MAX: Final = 300
"""A prefix and two user ids, as one-to-one conversations are commonly named."""

DEVICE_ID_CHARS_MAX: Final = 128
MODULE_NAME_CHARS_MAX: Final = 64
MODULE_ITEM_ID_CHARS_MAX: Final = 300

ONE_TO_ONE_MEMBERS_MAX: Final = 2
"""`members` on a message names the sides of a one-to-one chat; a group's members come by joins."""

MEMBERS_PER_EVENT_MAX: Final = 1_000
"""Joins and leaves name at most this many users; OpenIM's servers accept as many in one request."""

EVENTS_PER_RECORD_MAX: Final = 500
"""Events in one record of a write topic: enough to pay the per-record cost of the stream stage."""

STAMP_INDEX_BITS: Final = 9
"""Room in a stamp for the place of an event inside its record."""

STAMP_MAX: Final = 2 ** (EPOCH_BITS + OFFSET_BITS + STAMP_INDEX_BITS) - 1
"""Of the last event of the last record of the last epoch."""

EVENT_RECORD_BYTES_MAX: Final = 900_000
"""A write record stays under Kafka's default `message.max.bytes` (1 MiB) with its headers."""

USERS_PER_CHANGE_MAX: Final = 500
"""Users in one change record; with the longest ids it stays under `CHANGE_RECORD_BYTES_MAX`."""

CHANGE_RECORD_BYTES_MAX: Final = 900_000

PARTITIONS_MAX: Final = 10_000
"""More partitions than any sensible topic has; catches a mistyped setting."""

CHANGES_PER_ANSWER_MAX: Final = 1_000
"""Changed conversations in one delta; more, and paging the whole state is the cheaper answer."""

CHANGES_PER_ANSWER_DEFAULT: Final = 500

CONVERSATIONS_PER_PAGE_MAX: Final = 1_000
"""Conversations in one page of a full correction: about 200 KB of JSON."""

CONVERSATIONS_PER_PAGE_DEFAULT: Final = 500

CONVERSATIONS_PER_CORRECTION_MAX: Final = 4_000
"""Conversations told by one answer of a correction: as many as a sketch can name. The client's cap
of bytes is commonly reached before."""

MODULE_ITEMS_PER_ANSWER_MAX: Final = 1_000
"""Items of all user modules in one answer."""

MODULE_ITEMS_PER_ANSWER_DEFAULT: Final = 500

ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024
"""Bytes of an answer before compression: the most that a client may ask for, and that any holds."""

ANSWER_BYTES_MIN: Final = 8_192
"""Room for the longest cursor, one entry and one module item with the longest ids."""

ANSWER_BYTES_DEFAULT: Final = 512 * 1024
"""Room for 1,000 entries with ids of common length."""

PINNED_MAX: Final = 1_000
"""Ids in the list of pinned conversations; who pins more gets no list, only the entries."""

ROOT_BYTES: Final = 16
"""128 bits: states that differ have the same root by chance once in 3e38."""

RANGE_BITS_MAX: Final = 32
"""Bits of a conversation key that can name a range; 2^32 ranges would hold one row each."""

RANGES_MAX: Final = 4_096
"""Ranges in one message of a correction; a fraction of a frame."""

RANGE_DIGEST_BYTES: Final = 4
"""Of a range digest, and of a row hash: one change in 4e9 hides from it, and the root finds it."""

SKETCH_BYTES_MAX: Final = 40_960
"""4,096 cells: some 3,000 rows that differ. Beyond, listing ranges or paging costs less."""

REQUEST_ID_MAX: Final = 2**31 - 1
"""Ids of requests on one connection; a client may start again at 0 after it."""

CURSOR_CHARS_MAX: Final = 2_048
"""Cursors and page tokens are shorter by far; longer input is refused before it is decoded."""

REQUEST_BYTES_MAX: Final = 131_072
"""A sync request is a few hundred bytes; the bound leaves room for a sketch in base64, or for the
row hashes of 20,000 conversations."""

assert EPOCH_BITS + OFFSET_BITS == 53, "a version is a JavaScript-safe integer"
assert EVENTS_PER_RECORD_MAX <= 2**STAMP_INDEX_BITS
assert EPOCH_BITS + OFFSET_BITS + STAMP_INDEX_BITS < 63, "a stamp is a Cassandra timestamp"
assert USERS_PER_CHANGE_MAX * (USER_ID_CHARS_MAX * 4 + 3) < CHANGE_RECORD_BYTES_MAX
assert MEMBERS_PER_EVENT_MAX * (USER_ID_CHARS_MAX * 4 + 3) < EVENT_RECORD_BYTES_MAX
assert CHANGES_PER_ANSWER_DEFAULT <= CHANGES_PER_ANSWER_MAX
assert CONVERSATIONS_PER_PAGE_DEFAULT <= CONVERSATIONS_PER_PAGE_MAX
assert CONVERSATION_ID_CHARS_MAX >= 2 * USER_ID_CHARS_MAX
assert ANSWER_BYTES_MIN <= ANSWER_BYTES_DEFAULT <= ANSWER_BYTES_MAX
assert SKETCH_BYTES_MAX * 4 // 3 + CURSOR_CHARS_MAX < REQUEST_BYTES_MAX
