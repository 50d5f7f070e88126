"""The command of the tap of an OpenIM deployment."""

from __future__ import annotations

import sys

from diffusion.output import say_why
from infra.ending import EXIT_RESTART
from schemas.errors import RetryableError


def openim_tap() -> None:
    """Run a tap: records of an OpenIM deployment's Kafka in, write events out (docs/openim.md).

    Scale by starting more, up to the partitions of OpenIM's topic. Exit code 75: Kafka or Cassandra
    is away; to be started again.
    """
    from consumers.openim.__main__ import main
    from diffusion import announced

    try:
        announced.run("openim-tap", main)
    except RetryableError as error:
        say_why(str(error))
        sys.exit(EXIT_RESTART)
