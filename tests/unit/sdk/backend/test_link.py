"""What a producer is told when no broker is to be had."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException

from schemas.errors import PermanentError, RetryableError
from sdk.backend.link import Link

TIMED_OUT = KafkaException(KafkaError(KafkaError._TRANSPORT, "Failed to get metadata"))
LOST = KafkaError(KafkaError._TRANSPORT, "certificate verify failed")
DOWN = KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down")


@pytest.mark.parametrize(
    ("heard", "kind", "words"),
    [
        ([], RetryableError, r"Failed to get metadata.*security\.protocol in `extra` if it wants"),
        ([DOWN], RetryableError, r"Failed to get metadata.*security\.protocol in `extra`"),
        ([KafkaError(KafkaError._TRANSPORT, "refused"), DOWN], RetryableError, r"2 s \(refused\)"),
        ([KafkaError(KafkaError._SSL, "who?"), DOWN], PermanentError, r"\(who\?\).*ssl\.ca"),
        ([KafkaError(KafkaError._AUTHENTICATION, "no"), DOWN], PermanentError, r"sasl\.password"),
        # As OpenSSL tells it at times: the refusal, and then that the line is gone.
        ([KafkaError(KafkaError._SSL, "who?"), LOST, DOWN], PermanentError, r"\(who\?\).*ssl\.ca"),
    ],
)
def test_what_was_complained_of_says_what_to_look_at(
    heard: list[KafkaError], kind: type[Exception], words: str
) -> None:
    complained: list[str] = []
    link = Link(
        {"bootstrap.servers": "127.0.0.1:1", "log_level": 0},
        ended=lambda _: None,
        complained=lambda text, _fatal: complained.append(text),
    )
    for error in heard:
        link._hear(error)
    with pytest.raises(kind, match=words):
        raise link._unanswered(TIMED_OUT, 2)
    assert complained == [error.str() for error in heard]
