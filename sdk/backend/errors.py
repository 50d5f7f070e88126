"""The one error that only a producer knows; the others are those of `schemas.errors`.

RetryableError
└── DeliveryError       events were accepted, and then Kafka did not take them
"""

from __future__ import annotations

from schemas.errors import RetryableError


class DeliveryError(RetryableError):
    """Accepted events were not delivered. `count` says how many, `reason` why the first was not.

    Sending the same events again is right and harmless: sequence numbers merge by the greatest.
    """

    def __init__(self, count: int, reason: str) -> None:
        self.count = count
        self.reason = reason
        super().__init__(
            f"{count:,} events were not delivered, the first because: {reason}; "
            "send them again (`on_error` is told which)"
        )
