"""What the benchmark of latency writes, counts, and how it judges."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from diffusion.bench.latency import Outcome, case_as_json
from diffusion.bench.latency_load import Load, Mix, everything, probes
from diffusion.bench.latency_probes import (
    LATE_S,
    POLL_MIN_S,
    POLL_SHARE,
    Device,
    Sample,
    pause_s,
    tells,
)
from diffusion.bench.latency_writer import (
    STEP_BEHIND_S,
    STEPS,
    FullSpeed,
    Paced,
    Step,
    Writer,
    maximum,
)
from diffusion.oracle import Oracle
from infra.api_settings import ApiSettings
from infra.clock import monotonic_s
from infra.settings import Settings
from schemas.encoding import Format, encode
from schemas.errors import PermanentError, RetryableError
from schemas.events import ConversationSettings, MembersJoined, Message, WriteEvent
from schemas.protocol import ConversationEntry, SyncResponse

MIX = Mix(chats=150, groups=20, probes=3)


def case(share: float, times: list[float], missed: int = 0) -> Paced:
    return Paced(share, 100, 1_000, 10.0, 2.0, tuple(Sample(3.0, t, 6.0) for t in times), missed)


GOOD = Outcome(
    mix=MIX,
    full_speed=FullSpeed(1_000, 10_000, 10.0),
    steps=(Step(50.0, 500.0, 1.5), Step(75.0, 740.0, STEP_BEHIND_S), Step(88.0, 870.0, 3.1)),
    cases=(
        case(0.1, [float(number) for number in range(200, 401)]),
        case(0.5, [float(number) for number in range(1_000, 1_201)]),
    ),
    peak_memory_mb={"api": 90.0},
    machine="two cores",
    users_checked=2,
    differences=(),
)


def test_percentiles_rates_and_what_they_are_of() -> None:
    told = GOOD.as_json()
    first, second = told["cases"]
    assert (first["load"], first["p50_ms"], first["p99_ms"], first["max_ms"]) == (
        0.1,
        300,
        398,
        400,
    )
    assert first["accepted_p50_ms"] == 3.0
    assert first["resolution_p99_ms"] == 6.0
    assert second["messages_per_second"] == 10.0
    assert told["full_speed"]["messages_per_second"] == 100.0
    assert told["full_speed"]["marks_per_second"] == 1_000.0
    assert told["maximum"]["messages_per_second"] == 75.0
    assert [step["sustained"] for step in told["steps"]] == [True, True, False]
    assert (told["probes"], told["missed"]) == (402, 0)
    assert set(told) >= {"load", "peak_memory_mb", "machine", "held", "differences"}


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("p99_at_10", replace(GOOD, cases=(case(0.1, [100.0] * 196 + [501.0] * 4), GOOD.cases[1]))),
        ("p99_at_50", replace(GOOD, cases=(GOOD.cases[0], case(0.5, [2_001.0] * 300)))),
        ("probes", replace(GOOD, cases=(GOOD.cases[0], case(0.5, [1.0] * 199)))),
        ("missed", replace(GOOD, cases=(GOOD.cases[0], case(0.5, [1.0] * 200, missed=1)))),
        ("correct", replace(GOOD, differences=("x",))),
    ],
)
def test_each_bound_is_judged_by_itself(name: str, broken: Outcome) -> None:
    assert all(GOOD.held.values())
    assert [one for one, holds in broken.held.items() if not holds] == [name]


def test_without_a_probe_no_bound_holds() -> None:
    none = replace(GOOD, cases=(case(0.1, []), GOOD.cases[1]))
    assert not none.held["p99_at_10"]
    assert "p50_ms" not in case_as_json(none.cases[0])


def test_the_same_messages_are_drawn_again() -> None:
    load = Load(MIX, 7)
    written: list[object] = [*load.beginning(), *load.firsts()]
    written += [load.message() for _ in range(500)]
    told = list(everything(MIX, 7, load.messages, {probe.user: 2 for probe in probes(MIX)}))
    assert told[: len(written)] == written
    assert len(told) == len(written) + 2 * MIX.probes
    assert load.messages == MIX.chats + MIX.groups + 500


def test_groups_are_of_the_sizes_of_the_mix_and_all_are_diffused() -> None:
    events = list(Load(MIX, 1).beginning())
    sizes = [len(event.user_ids) for event in events if isinstance(event, MembersJoined)]
    assert len(sizes) == MIX.groups
    assert all(8 <= size <= 200 for size in sizes)
    settings = [event for event in events if isinstance(event, ConversationSettings)]
    assert {event.diffusion for event in settings} == {"always_write"}
    assert len(settings) == MIX.groups


def test_marks_are_messages_times_members_and_sequences_go_up_one_by_one() -> None:
    load, members, last = Load(MIX, 1), dict[str, int](), dict[str, int]()
    for event in load.beginning():
        if isinstance(event, MembersJoined):
            members[event.conversation_id] = len(event.user_ids)
    marks = 0
    for message in [*load.firsts(), *(load.message() for _ in range(300))]:
        marks += members.get(message.conversation_id, 2)
        last[message.conversation_id] = last.get(message.conversation_id, 0) + 1
        assert message.seq == last[message.conversation_id]
        assert (message.members is None) == (message.conversation_id in members)
    assert load.marks == marks


def test_a_probe_has_one_chat_and_nobody_else_writes_to_it() -> None:
    oracle = Oracle()
    oracle.replay(everything(MIX, 1, 400, {probe.user: 3 for probe in probes(MIX)}))
    for probe in probes(MIX):
        (state,) = oracle.states(probe.user).values()
        assert (state.conversation_id, state.max_seq) == (probe.conversation_id, 3)
    assert isinstance(probes(MIX)[0].message(1), Message)


def test_an_answer_tells_a_sequence_or_a_later_one() -> None:
    told = SyncResponse("delta", (ConversationEntry("a", 1, 5), ConversationEntry("b", 2)))
    assert tells(told, "a", 5)
    assert tells(told, "a", 4)
    assert not tells(told, "a", 6)
    assert not tells(told, "b", 1)
    assert not tells(SyncResponse("delta"), "a", 1)


def test_a_device_asks_less_often_the_longer_it_waits() -> None:
    assert pause_s(0.0) == pause_s(0.1) == POLL_MIN_S
    assert pause_s(1.0) == pytest.approx(POLL_SHARE)
    assert pause_s(LATE_S) < 5, "the API closes a connection that is idle for so long"


async def _answering(answers: list[SyncResponse], status: int = 200) -> tuple[Any, list[bytes]]:
    """What a device finds when its last message is not told before the last of these answers."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            asked.append(await reader.readexactly(length))
            body = encode(answer, Format.MSGPACK)
            writer.write(
                b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body
            )
        await reader.read()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        device = Device(Settings(api=ApiSettings(port=port)), probes(MIX)[0])
        device.next()
        connection = await device.connect()
        try:
            return await device.until_told(connection, monotonic_s()), asked
        finally:
            connection.close()
            await asyncio.sleep(0.05)


def test_a_device_asks_with_its_cursor_until_it_is_told() -> None:
    told = ConversationEntry(probes(MIX)[0].conversation_id, 9, 1)
    answers = [
        SyncResponse("delta", cursor="first"),
        SyncResponse("delta"),
        SyncResponse("delta", (told,)),
    ]
    found, asked = asyncio.run(_answering(answers))
    since_s, resolution_s = found
    assert since_s >= 2 * POLL_MIN_S
    assert since_s > resolution_s >= POLL_MIN_S
    assert [b"first" in body for body in asked] == [False, True, True]


def test_a_refusal_is_no_answer() -> None:
    with pytest.raises(RetryableError, match="503"):
        asyncio.run(_answering([SyncResponse("delta")], status=503))


class _Slow:
    """A producer that is busy with its first message for a while."""

    def __init__(self, busy_s: float) -> None:
        self.sent: list[WriteEvent] = []
        self._busy_s = busy_s

    def send(self, event: WriteEvent) -> None:
        if not self.sent:
            until_s = monotonic_s() + self._busy_s
            while monotonic_s() < until_s:
                pass
        self.sent.append(event)


def test_what_is_late_is_written_at_once_and_told() -> None:
    producer: Any = _Slow(0.1)
    writer = Writer(Settings(), Load(MIX, 1), producer)
    took_s, late_s = asyncio.run(writer._write(200.0, 0.3))
    assert len(producer.sent) == 60, "none is left out"
    assert 0.28 < took_s < 1.0
    assert late_s > 0.05


@pytest.mark.parametrize("limit", [30.0, 500.0, 970.0])
def test_the_maximum_is_found_to_one_part_in_thirty_two_of_full_speed(
    limit: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer: Any = _Slow(0.0)
    writer = Writer(Settings(), Load(MIX, 1), producer)

    async def step(rate: float) -> Step:
        return Step(rate, 10 * rate, 1.0 if rate <= limit else 10.0)

    monkeypatch.setattr(writer, "_step", step)
    steps = asyncio.run(writer.find_maximum(960.0))
    assert len(steps) == STEPS
    found = maximum(steps).messages_per_second
    assert limit - 960.0 / 2**STEPS < found <= limit or (limit > 960 and found == 930.0)


def test_without_a_rate_that_is_sustained_there_is_no_maximum() -> None:
    with pytest.raises(PermanentError, match="None of the 1 rates"):
        maximum([Step(1.0, 1.0, STEP_BEHIND_S + 0.1)])
