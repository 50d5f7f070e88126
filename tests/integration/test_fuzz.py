"""Hostile requests against the real API, and hostile records through real Kafka and real workers.

Nothing falls over, and all of it is accounted for. `diffusion fuzz` sends more of both.
"""

from __future__ import annotations

from diffusion.fuzz import api, pipeline
from diffusion.system import System

SEED = 20_261_129
REQUESTS = 3_000
RECORDS = 1_500

GROWTH_BYTES_MAX = 64 * 1024 * 1024
"""What the API may grow by while it is sent bombs, and bodies of two megabytes."""


def test_every_request_is_answered_or_closed_in_order(system: System) -> None:
    found = api.run(system, SEED, 0, REQUESTS)
    account = found.account
    assert [one.as_json() for one in account.wrong] == []
    assert account.sent == account.outcomes.total() == REQUESTS
    assert account.good == account.good_answered > REQUESTS / 5
    assert found.same_process
    assert found.tracebacks == 0
    assert found.grown_bytes < GROWTH_BYTES_MAX
    assert (found.verdict.checked, found.verdict.differences) == (api.USERS, [])


def test_every_record_is_accepted_or_a_dead_letter(system: System) -> None:
    found = pipeline.run(system, SEED, 0, RECORDS)
    assert found.by_metrics == found.expected
    assert found.in_topics == found.expected.letters
    assert found.restarts == 0
    assert found.records + found.too_large == RECORDS
