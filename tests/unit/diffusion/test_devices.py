"""What `diffusion sync USER --devices` says of a device is what the API would do with its cursor."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from diffusion import cli, devices
from diffusion.devices import BEHIND_MAX, DeviceStand, stand
from infra.cassandra import changes_by_user, devices_by_user
from infra.cassandra.changes_by_user import RowKey
from infra.cassandra.devices_by_user import Device
from infra.settings import Settings
from schemas.rows import ChangeRow
from schemas.versions import BEFORE_ALL, version_of
from syncapi import planner
from syncapi.planner import EXPIRY_MARGIN_MS
from tests.unit.syncapi.support import RETENTION_MS, T0, WINDOW_MS, Store, cursor, ground, request

VALID_FROM_MS = T0 - 1_000


def device(offset: int = 0, **changed: Any) -> Device:
    version = version_of(1, offset) if offset else BEFORE_ALL
    return Device(
        **{
            "device_id": "phone",
            "epoch": 1,
            "version": version,
            "issued_at_ms": T0,
            "seen_at_ms": T0,
            **changed,
        }
    )


def rows(*windows: list[int]) -> list[ChangeRow]:
    """Rows of windows, newest first, each window the offsets of its rows."""
    return [
        ChangeRow(T0 - age * WINDOW_MS, f"sg_{number}", message_version=version_of(1, offset))
        for age, offsets in enumerate(windows)
        for number, offset in enumerate(offsets)
    ]


def behind(offset: int, found: list[ChangeRow]) -> tuple[int | None, bool]:
    one = stand(device(offset), found, 1, VALID_FROM_MS)
    assert one.cursor == "valid"
    return one.behind, one.behind_at_least


# Behind.


def test_changes_newer_than_the_version_are_counted_exclusive() -> None:
    found = rows([9, 4], [8, 2])
    assert [behind(offset, found) for offset in (0, 2, 4, 8, 9)] == [
        (4, False), (3, False), (2, False), (1, False), (0, False),
    ]  # fmt: skip


def test_a_row_is_as_new_as_its_newest_kind_of_change() -> None:
    found = [
        ChangeRow(T0, "sg_1", message_version=version_of(1, 3), state_version=version_of(1, 9))
    ]
    assert behind(5, found) == (1, False)


def test_exactly_the_limit_is_said_exactly() -> None:
    assert behind(0, rows(list(range(1, BEHIND_MAX + 1)))) == (BEHIND_MAX, False)


def test_more_than_the_limit_is_cut() -> None:
    assert behind(0, rows(list(range(1, BEHIND_MAX + 2)))) == (BEHIND_MAX, True)


def test_of_many_rows_a_few_that_are_newer_are_said_exactly() -> None:
    """An older window has nothing newer than one that has something older."""
    found = rows([900, 899], [898], list(range(1, BEHIND_MAX - 1)))
    assert len(found) == BEHIND_MAX + 1
    assert behind(898, found) == (2, False)


def test_reading_that_stops_in_the_window_of_the_version_says_at_least() -> None:
    """Inside a window rows are in the order of conversations: what was left may be newer."""
    found = rows([900], list(range(1, BEHIND_MAX + 1)))
    assert len(found) == BEHIND_MAX + 1
    assert behind(BEHIND_MAX - 5, found) == (6, True)


# Cursors that get no delta.


def test_another_epoch_or_an_expired_cursor_is_behind_by_nothing_that_counts() -> None:
    found = rows([9])
    other = stand(device(1, epoch=2), found, 1, VALID_FROM_MS)
    expired = stand(device(1, issued_at_ms=VALID_FROM_MS - 1), found, 1, VALID_FROM_MS)
    both = stand(device(1, epoch=2, issued_at_ms=0), found, 1, VALID_FROM_MS)
    assert [(one.cursor, one.behind) for one in (other, expired, both)] == [
        ("other_epoch", None),
        ("expired", None),
        ("other_epoch", None),
    ]
    assert stand(device(1, issued_at_ms=VALID_FROM_MS), found, 1, VALID_FROM_MS).cursor == "valid"


@pytest.mark.parametrize("epoch", [1, 2])
@pytest.mark.parametrize("age_ms", [0, RETENTION_MS - EXPIRY_MARGIN_MS, RETENTION_MS])
def test_the_planner_does_what_is_said(epoch: int, age_ms: int) -> None:
    at = T0 - age_ms
    plan = planner.start(request(cursor(epoch=epoch, issued_at_ms=at)), ground())
    said = stand(
        device(epoch=epoch, issued_at_ms=at), [], 1, planner.oldest_valid_ms(ground())
    ).cursor
    reason = getattr(plan, "reason", None)  # a delta has none
    expected = {None: "valid", "epoch_changed": "other_epoch", "expired": "expired"}
    assert said == expected[reason and reason.value]


# From the store.


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    store = Store()
    monkeypatch.setattr(devices, "open_session", lambda _: store)
    monkeypatch.setattr(devices, "now_ms", lambda: T0)
    monkeypatch.setattr("infra.settings.load", Settings)
    monkeypatch.setenv("COLUMNS", "200")
    return store


def note(store: Store, *found: Device) -> None:
    for one in found:
        store.apply(devices_by_user.seen(store, "ann", one, 600))


def change(store: Store, conversation_id: str, offset: int) -> None:
    key = RowKey("ann", T0, conversation_id)
    store.apply(changes_by_user.state(store, key, 600, version=version_of(1, offset)))


def test_devices_are_read_with_what_they_are_behind(store: Store) -> None:
    note(store, device(1, device_id="tablet"), device(2))
    change(store, "sg_1", 2)
    change(store, "sg_2", 3)
    found = devices.run(Settings(), "ann")
    assert [(one.device_id, one.behind) for one in found] == [("phone", 1), ("tablet", 2)]
    assert store.closed
    assert [cql.split(" ks.")[1].split()[0] for cql, _ in store.reads[1:]] == [
        "devices_by_user",
        "topic_epochs",
        "changes_by_user",
    ]


def test_the_session_is_closed_for_a_user_without_devices(store: Store) -> None:
    assert devices.run(Settings(), "ann") == []
    assert store.closed


def test_the_option_shows_a_table(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    note(
        store,
        device(1),
        device(device_id="old", issued_at_ms=1),
        device(device_id="other", epoch=9),
    )
    change(store, "sg_1", 2)
    cli.sync("ann", devices=True)
    header, *lines = capsys.readouterr().out.splitlines()
    for name in ("device", "last seen", "cursor issued", "version", "changes behind"):
        assert name in header
    assert [line.split()[0] for line in lines] == ["old", "other", "phone"]
    assert lines[0].rstrip().endswith("expired")
    assert lines[1].rstrip().endswith("another epoch: will be reset")
    assert lines[2].split() == [
        "phone", "2023-11-14", "22:20", "2023-11-14", "22:20", str(version_of(1, 1)), "1",
    ]  # fmt: skip


def test_more_changes_than_were_counted_are_shown_as_such(
    capsys: pytest.CaptureFixture[str],
) -> None:
    devices.show("ann", [stand(device(), rows(list(range(1, 600))), 1, 0)], 90)
    assert f" {BEHIND_MAX}+" in capsys.readouterr().out


def test_the_option_with_json_prints_one_object(
    store: Store, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    note(store, device(1))
    change(store, "sg_1", 2)
    cli.sync("ann", devices=True, json=True)
    assert orjson.loads(capsysbinary.readouterr().out) == {
        "user_id": "ann",
        "devices": [
            {
                "device_id": "phone",
                "seen_at_ms": T0,
                "issued_at_ms": T0,
                "epoch": 1,
                "version": version_of(1, 1),
                "cursor": "valid",
                "behind": 1,
                "behind_at_least": False,
            }
        ],
    }


def test_no_devices_are_a_sentence_and_in_json_an_empty_list(
    store: Store, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    cli.sync("ann", devices=True)
    assert b"No device of ann was noted in the last 90 days." in capfdbinary.readouterr().out
    cli.sync("ann", devices=True, json=True)
    assert orjson.loads(capfdbinary.readouterr().out) == {"user_id": "ann", "devices": []}


def test_an_id_that_a_client_made_up_does_nothing_to_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    odd = DeviceStand("[/b]\x1b[2Jx", T0, T0, 1, 1, "valid", 0, behind_at_least=False)
    devices.show("ann", [odd], 90)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "[/b]\N{REPLACEMENT CHARACTER}[2Jx" in out


def test_the_command_line_takes_the_option() -> None:
    command, bound, _ = cli.app.parse_args(["sync", "ann", "--devices", "--json"])
    assert command is cli.sync
    assert bound.arguments == {"user": "ann", "devices": True, "json": True}
