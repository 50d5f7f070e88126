"""The account of a run against the API: what was sent, what became of it, what was not in order."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from diffusion.fuzz.asked import SOCKET, Asked
from diffusion.fuzz.line import INTERNAL, OK, Outcome

SHOWN_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class Wrong:
    """A request that was not answered as it must be."""

    seed: int
    number: int
    asked: Asked
    what: str

    def as_json(self) -> dict[str, Any]:
        """Plain values; the bytes in hexadecimal digits."""
        return {
            "seed": self.seed,
            "number": self.number,
            "kind": self.asked.kind,
            "what": self.what,
            "data": self.asked.data.hex(),
            "frames": self.asked.frames.hex(),
        }


@dataclass(slots=True)
class Account:
    """Sent is answered plus closed, exactly; whatever is not in order is among the `wrong`."""

    sent: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    closed: Counter[str] = field(default_factory=Counter)
    """Closed without an answer, by why that is in order."""
    kinds: Counter[str] = field(default_factory=Counter)
    good: int = 0
    good_answered: int = 0
    again: int = 0
    wrong: list[Wrong] = field(default_factory=list)

    def add(self, seed: int, number: int, asked: Asked, outcome: Outcome) -> None:
        """Enter a request."""
        self.sent += 1
        self.outcomes[outcome.name] += 1
        self.kinds[asked.kind] += 1
        if outcome.name == "closed":
            self.closed[asked.closes] += 1
        if asked.good:
            self.good += 1
            self.good_answered += outcome.answered or outcome.status == OK
        what = fault(asked, outcome)
        if what:
            self.wrong.append(Wrong(seed, number, asked, what))

    @property
    def exact(self) -> bool:
        """Whether everything that was sent is accounted for."""
        return self.sent == self.outcomes.total()

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "sent": self.sent,
            "outcomes": dict(sorted(self.outcomes.items())),
            "closed": dict(sorted(self.closed.items())),
            "kinds": dict(sorted(self.kinds.items())),
            "good": self.good,
            "good_answered": self.good_answered,
            "sent_again": self.again,
            "exact": self.exact,
            "wrong": len(self.wrong),
            "first_wrong": [one.as_json() for one in self.wrong[:SHOWN_MAX]],
        }


def fault(asked: Asked, outcome: Outcome) -> str:
    """Say what is not in order with the outcome of a request; "" if nothing."""
    worst = max(outcome.status or 0, outcome.problem)
    closed = outcome.status is None
    found = (
        (outcome.silent, "neither an answer nor a close"),
        (worst >= INTERNAL, f"answered {worst}"),
        (
            asked.good and not (outcome.answered or outcome.status == OK),
            f"a good request: {outcome.name}",
        ),
        (closed and not asked.closes, "closed without an answer"),
        (closed and asked.closes == SOCKET, "a good handshake was not answered"),
    )
    return next((what for wrong, what in found if wrong), "")
