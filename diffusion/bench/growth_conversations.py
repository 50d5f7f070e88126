"""What a sync costs a user with 10 to 50,000 conversations, and another row of his.

All are written through the pipeline. The change log is cut into windows of ten seconds instead of
ten minutes: a sync reads again the window that its cursor is in, and the minute before, and the
import has to leave both before the ordinary case can be measured.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from diffusion.bench.chats import Account
from diffusion.bench.growth_cost import CHANGES_TOLD, Prober, cassandra_pid, wait_calm
from diffusion.bench.growth_fit import Point, Series
from diffusion.bench.growth_partition import row_costs
from diffusion.bench.stage import Stage
from diffusion.console import Console
from diffusion.demo import pairs
from infra.settings import Settings
from schemas.versions import version_of

SIZES: Final = (10, 100, 1_000, 10_000, 50_000)
WINDOW_MINUTES: Final = 1 / 6


def measure(
    settings: Settings, folder: Path, seed: int, console: Console
) -> tuple[Series, list[str]]:
    """Measure all sizes; with what devices hold otherwise than the oracle says."""
    accounts = {size: Account(number, size, seed) for number, size in enumerate(SIZES)}
    with pairs(settings, folder, console) as system:
        stage = Stage(system, folder, accounts, load=0.0)
        cassandra = cassandra_pid(settings)
        for size in SIZES:
            stage.bring(size, console)
        for size in SIZES:
            stage.settle(size, console)
        wait_calm(cassandra)
        points, differences = [], []
        with (
            console.progress("conversations of a user", total=len(SIZES)) as update,
            Prober(system, cassandra) as prober,
        ):
            first = accounts[SIZES[0]].user_id
            # Not counted: servers that were just started are still compiling.
            prober.measure({first: prober.caught_up(first)})
            for size in SIZES:
                costs, wrong = _syncs(stage, size, prober)
                differences += wrong + stage.wrong(size, stage.fresh(size))
                one = accounts[size].user_id
                mine = sorted(stage.oracle.states(one))
                costs |= row_costs(settings, one, mine, version_of(1, 0), cassandra)
                points.append(Point(size, costs))
                update(advance=1)
    flat = ("sync_0_cpu_ms", "sync_20_cpu_ms", "write_cassandra_us_per_row")
    return Series("conversations", "conversations of the user", tuple(points), flat), differences


def _syncs(stage: Stage, size: int, prober: Prober) -> tuple[dict[str, float], list[str]]:
    account, changes = stage.accounts[size], min(size, CHANGES_TOLD)
    user = account.user_id
    cursor = prober.caught_up(user)
    stage.write(account.changed(1))
    cursor = prober.caught_up(user, cursor)
    empty = prober.measure({user: cursor})
    before = stage.oracle.states(user)
    stage.write(account.changed(changes))
    some = prober.measure({user: cursor})
    told = {one.conversation_id: one.max_seq for one in prober.send(user, cursor).conversations}
    after = stage.oracle.states(user)
    wanted = {cid: state.max_seq for cid, state in after.items() if state != before[cid]}
    wrong = [] if told == wanted else [f"{size:,} conversations: told {len(told)} of {len(wanted)}"]
    costs = empty.costs("sync_0")
    # With ten conversations twenty cannot have changed: it is another amount of work.
    return costs | (some.costs("sync_20") if changes == CHANGES_TOLD else {}), wrong
