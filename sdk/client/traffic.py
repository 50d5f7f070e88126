"""What went over the wire, counted. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Traffic:
    """What went over the wire since the transport was made, failed attempts included.

    `round_trips` counts answers of any status; bytes are those of bodies as they were transferred,
    compressed if they were.
    """

    round_trips: int = 0
    bytes_up: int = 0
    bytes_down: int = 0

    def plus(self, *, round_trips: int = 0, bytes_up: int = 0, bytes_down: int = 0) -> Traffic:
        """Count more."""
        return Traffic(
            self.round_trips + round_trips, self.bytes_up + bytes_up, self.bytes_down + bytes_down
        )

    def since(self, earlier: Traffic) -> Traffic:
        """Count what came after `earlier`."""
        return Traffic(
            self.round_trips - earlier.round_trips,
            self.bytes_up - earlier.bytes_up,
            self.bytes_down - earlier.bytes_down,
        )
