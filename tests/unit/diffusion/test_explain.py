"""What `diffusion explain` says is what the policy would do."""

from __future__ import annotations

from msgspec.structs import replace

from diffusion.explain import explain
from infra.settings import PolicySettings
from schemas.heads import Activity, Head, Mode, ModeReason
from streams import policy
from streams.app import rules_of

T0 = 1_700_000_000_000
RULES = rules_of(PolicySettings(), 600_000)
READ = Head(
    "sg_1",
    max_seq=9,
    mode=Mode.READ,
    mode_epoch=2,
    mode_since_ms=T0 - 900_000,
    mode_reason=ModeReason.COST,
    member_count=131,
    activity=Activity(at_ms=T0, stamp=9, window_ms=T0, rate=0.02, volume=0.01, excess=40.0),
)


def test_it_says_when_a_conversation_returns_and_the_policy_agrees() -> None:
    found = explain(READ, RULES, T0)
    assert (found.mode, found.reason, found.wanted) == ("read", "cost", "read")
    then_ms = found.changes_without_a_message_ms
    assert then_ms is not None
    assert policy.switch(READ, 131, RULES, 10, then_ms - 2_000) is None
    assert policy.switch(READ, 131, RULES, 10, then_ms) is not None


def test_what_is_due_is_due_now() -> None:
    due = replace(READ, activity=replace(READ.activity, excess=10_000.0))
    found = explain(due, RULES, T0)
    assert found.wanted == "write"
    assert found.changes_without_a_message_ms == T0


def test_an_override_never_ends_by_itself() -> None:
    held = replace(READ, diffusion="always_read", mode_reason=ModeReason.OVERRIDE)
    found = explain(held, RULES, T0)
    assert found.changes_without_a_message_ms is None
    assert any("override" in sentence for sentence in found.would_change)


def test_a_chat_of_two_is_diffused_and_says_what_would_make_it_count() -> None:
    found = explain(Head("si_a_b", max_seq=3, member_count=2), RULES, T0)
    assert (found.mode, found.wanted, found.excess) == ("write", "write", 0.0)
    assert any("more than 8 members" in sentence for sentence in found.would_change)
    assert found.as_json()["conversation_id"] == "si_a_b"


def test_a_switch_under_way_says_so() -> None:
    found = explain(replace(READ, mode=Mode.LEAVING), RULES, T0)
    assert found.mode == "leaving"
    assert any("under way" in sentence for sentence in found.would_change)
