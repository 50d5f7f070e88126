"""What went over the wire, counted. Pure."""

from __future__ import annotations

from msgspec import Struct


class Traffic(Struct, frozen=True):
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


class Counted:
    """Something that moves bytes over the wire, and counts them."""

    def __init__(self) -> None:
        self._traffic = Traffic()

    @property
    def traffic(self) -> Traffic:
        """What went over the wire until now; over a connection, bytes are those of frames."""
        return self._traffic

    def _spend(self, *, trips: int = 0, up: int = 0, down: int = 0) -> None:
        self._traffic = self._traffic.plus(round_trips=trips, bytes_up=up, bytes_down=down)
