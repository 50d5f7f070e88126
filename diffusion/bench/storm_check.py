"""What a device of a storm holds, and whether that is right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from diffusion.bench.storm_load import Visit
from diffusion.oracle import Difference
from schemas.conversations import ConversationState
from schemas.protocol import RESETS, SyncResponse, merge


def applied(
    held: Mapping[str, ConversationState], answers: Iterable[SyncResponse]
) -> dict[str, ConversationState]:
    """What a device holds after these answers, in memory: as the SDK's store would have it."""
    state = dict(held)
    for answer in answers:
        if answer.path == "full" and answer.reason in RESETS:
            state = {}  # what no page names is gone
        for entry in answer.conversations:
            before = state.get(entry.conversation_id) if answer.path == "delta" else None
            state[entry.conversation_id] = merge(before, entry)
    return state


def is_newer(one: Difference, last: Mapping[str, int]) -> bool:
    """Whether a difference is only that a device knows more than it must: of a conversation that
    was written to since, up to its last sequence, which `last` has.
    """
    most = last.get(one.conversation_id)
    if most is None or one.expected is None or one.actual is None:
        return False
    match one.field:
        case "last_seq" | "read_seq":
            return one.expected < one.actual <= most
        case "activity_ms":
            return one.expected < one.actual
        case "unread":
            return True  # it follows from the two sequences
    return False


def dropped_connections() -> int:
    """Attempts to connect that were dropped on this machine because nobody took them in time; 0
    where it does not tell.
    """
    try:
        lines = Path("/proc/net/netstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    names, values = (line.split() for line in lines if line.startswith("TcpExt:"))
    return int(dict(zip(names, values, strict=True)).get("ListenOverflows", 0))


def told(visit: Visit) -> int:
    """Conversations that a device was told of."""
    return sum(len(answer.conversations) for answer in visit.answers)
