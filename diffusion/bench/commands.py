"""`diffusion bench`: the benchmarks on the command line, each a few lines that call what measures.

Imports of what a command needs are inside it, so that `diffusion --help` is quick.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Protocol, TypeVar

from cyclopts import App, Parameter

from diffusion.output import DATA, Json, fail, print_json

bench = App(name="bench", help="Benchmarks, each beside a yardstick in the same run.")
BENCH_SIZES: Final = (1_000, 10_000, 50_000)
SIZES_HELP: Final = "Conversations of the users who are measured; give it once for each."


@bench.command(name="sync")
def bench_sync(
    *,
    conversations: Annotated[tuple[int, ...], Parameter(help=SIZES_HELP)] = BENCH_SIZES,
    throughput_only: Annotated[bool, Parameter(negative="")] = False,
    seed: int = 1,
    json: Json = False,
) -> None:
    """Measure reconnects and fresh starts on real servers, beside ordinary incremental sync; and
    requests a second of one API process, beside the bare reads that they need.

    Starts servers of its own. Exit code 1 if a bound does not hold.

    Parameters
    ----------
    throughput_only
        Measure requests a second only.
    seed
        Draws ids, sequences and what changes.

    """
    from diffusion.bench import sync as measured
    from diffusion.bench.report import show_sync
    from diffusion.bench.stage import stage
    from diffusion.console import Console
    from infra.settings import load

    console = Console()
    with stage(load(), conversations, seed, console) as ready:
        outcome = measured.run(ready, seed, console, throughput_only=throughput_only)
    _finish(outcome, show_sync, json=json)


@bench.command
def correction(
    *,
    conversations: Annotated[tuple[int, ...], Parameter(help=SIZES_HELP)] = BENCH_SIZES,
    seed: int = 1,
    json: Json = False,
) -> None:
    """Damage the store of a device and let it be corrected, beside other ways to do that.

    Starts servers of its own. Exit code 1 if a bound does not hold.

    Parameters
    ----------
    seed
        Draws ids, sequences and what is damaged.

    """
    from diffusion.bench import correction as measured
    from diffusion.bench.report import show_correction
    from diffusion.bench.stage import stage
    from diffusion.console import Console
    from infra.settings import load

    console = Console()
    with stage(load(), conversations, seed, console) as ready:
        outcome = measured.run(ready, seed, console)
    _finish(outcome, show_correction, json=json)


@bench.command
def recovery(*, conversations: int = 10_000, seed: int = 1, json: Json = False) -> None:
    """Bring every abnormal case about, and reconnect over a bad line: path, trips, bytes of each.

    Starts servers of its own. Exit code 1 if a bound does not hold.

    Parameters
    ----------
    conversations
        Conversations of the user.
    seed
        Draws ids, sequences, what changes, and what the line does.

    """
    from diffusion.bench import recovery as measured
    from diffusion.bench.report import show_recovery
    from diffusion.bench.stage import stage
    from diffusion.console import Console
    from infra.settings import load

    console = Console()
    with stage(load(), (conversations,), seed, console) as ready:
        outcome = measured.run(ready, seed, console)
    _finish(outcome, show_recovery, json=json)


@bench.command
def write(
    *,
    messages: int = 225_480,
    group_trace: Path = DATA / "group_messages.csv.gz",
    seed: int = 1,
    json: Json = False,
) -> None:
    """Write as fast as it goes: each stage and the whole pipeline, beside their yardsticks.

    Starts servers of its own. Exit code 1 if a bound does not hold.

    Parameters
    ----------
    messages
        Messages of the trace that are replayed.
    group_trace
        Who wrote to which group, and when.
    seed
        Draws ids, members, and which devices are checked.

    """
    from diffusion.bench import write as measured
    from diffusion.bench.report import show_write
    from diffusion.console import Console
    from infra.settings import load

    outcome = measured.run(load(), group_trace, messages, seed, Console())
    _finish(outcome, show_write, json=json)


class _Judged(Protocol):
    """What most benchmarks end with."""

    @property
    def held(self) -> dict[str, bool]: ...

    def as_json(self) -> dict[str, Any]: ...


_Found = TypeVar("_Found", bound=_Judged)


def _finish(outcome: _Found, show: Callable[[_Found], None], *, json: bool) -> None:
    """Print what was found, and fail if a bound does not hold."""
    if json:
        print_json(outcome.as_json())
    else:
        show(outcome)
    missed = [name for name, holds in outcome.held.items() if not holds]
    if missed:
        fail(f"Bounds that do not hold: {', '.join(missed)}.")


@bench.command
def policy(*, seed: int = 1, data: Path = DATA, json: Json = False) -> None:
    """Cost the diffusion policy on two real traces and three made worlds, beside the optimum.

    Exit code 1 if a bound does not hold.

    Parameters
    ----------
    seed
        Draws the made worlds.
    data
        Folder of the two traces.

    """
    from diffusion.bench import policy as measured
    from diffusion.bench.report import show_policy
    from infra.settings import load
    from streams.app import rules_of

    settings = load()
    rules = rules_of(settings.policy, settings.log.window_ms)
    found = measured.run(data, rules, settings.policy.sweep_seconds, seed)
    if json:
        print_json({"traces": [one.as_json() for one in found]})
    else:
        show_policy(found)
    if not all(one.held for one in found):
        fail("A bound does not hold: see the column `held`.")


@bench.command(name="connect")
def bench_connect(
    *,
    connections: int = 2_000,
    seconds: float = 60.0,
    writes: float = 500.0,
    seed: int = 1,
    json: Json = False,
) -> None:
    """Hold many idle connections on one API process while writes flow: memory, and poke latency.

    On servers of its own, all on this machine. Exit code 1 if a poke is missed, or a user that is
    looked at in the end is not current.

    Parameters
    ----------
    connections
        Connected users, one connection each.
    seconds
        How long writes flow.
    writes
        Writes a second.
    seed
        Draws who writes to whom.

    """
    from diffusion.bench import connect as measured
    from diffusion.bench.report import show_connect
    from diffusion.console import Console
    from infra.settings import load

    plan = measured.Plan(connections, seconds, writes, seed)
    found = measured.run(load(), plan, Console())
    if json:
        print_json(found.as_json())
    else:
        show_connect(found)
    if not found.good:
        fail("A poke was missed, or a user is not current.")


@bench.command(name="latency")
def bench_latency(*, seconds: float = 60.0, seed: int = 1, json: Json = False) -> None:
    """Time from the delivery report of a write until a sync tells it, at 10 and 50 % of full speed.

    Starts servers of its own, and measures full speed first. Exit code 1 if a bound does not hold.

    Parameters
    ----------
    seconds
        How long probes are sent at each rate.
    seed
        Draws who writes to whom, and which devices are checked.

    """
    from diffusion.bench import latency as measured
    from diffusion.bench.report import show_latency
    from diffusion.console import Console
    from infra.settings import load

    outcome = measured.run(load(), seconds, seed, Console())
    _finish(outcome, show_latency, json=json)


@bench.command
def growth(
    *, seed: int = 1, plot: Path | None = None, page: Path | None = None, json: Json = False
) -> None:
    """Measure how costs grow with members, users, conversations and windows kept.

    Starts servers of its own, anew for each. Exit code 1 if something grows faster than the work.

    Parameters
    ----------
    seed
        Draws members, users, conversations and what changes.
    plot
        Where to draw the picture, a PNG; needs the extra `plot`.
    page
        Where to write a page in Markdown with the figures; its picture is drawn beside it.

    """
    from diffusion.bench import growth as measured
    from diffusion.bench.report_growth import show_growth
    from diffusion.console import Console
    from infra.settings import load

    outcome = measured.run(load(), seed, Console())
    if page is not None:
        from diffusion.bench.growth_page import page as written

        plot = plot or page.with_suffix(".png")
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(written(outcome.as_json(), plot.name), encoding="utf-8")
    if plot is not None:
        from diffusion.bench.growth_plot import draw

        draw(outcome.as_json(), plot)
    _finish(outcome, show_growth, json=json)


@bench.command
def soak(
    *,
    minutes: float = 30.0,
    conversations: int = 1_000_000,
    seed: int = 1,
    json: Json = False,
) -> None:
    """Touch very many conversations for a long time: memory of the workers, and its slope.

    On servers of its own. Exit code 1 if a bound does not hold. A million conversations in 20
    minutes are nine tenths of what two cores can do; then anything else on them makes a backlog,
    and the workers' buffers of it look like growth.

    Parameters
    ----------
    minutes
        At least so long; twice as long if the conversations are not touched by then.
    conversations
        Distinct conversations to be touched.
    seed
        Draws users, who writes what, and which devices are checked.

    """
    from diffusion.bench import soak as measured
    from diffusion.bench.report_soak import show_soak
    from diffusion.console import Console
    from infra.settings import load

    outcome = measured.run(load(), measured.Plan(minutes, conversations, seed), Console())
    _finish(outcome, show_soak, json=json)


@bench.command(name="storm")
def bench_storm(
    *,
    users: int = 5_000,
    seconds: float = 10.0,
    writes: float = 50.0,
    conversations: int = 10_000,
    seed: int = 1,
    json: Json = False,
) -> None:
    """Let everybody reconnect at once through one API process while writes go on.

    Starts servers of its own. Exit code 1 if a bound does not hold.

    Parameters
    ----------
    users
        Users, one device each, with some 50 conversations.
    seconds
        Within so many seconds they come back.
    writes
        Messages a second meanwhile. Each is of 30 marks on average, so 50 are about a tenth of
        what the pipeline takes when servers, workers and devices share two cores.
    conversations
        Conversations of the few users who have very many, and of ordinary sync beside it.
    seed
        Draws who is in which conversation, what changes, and when each device comes back.

    """
    from diffusion.bench import storm as measured
    from diffusion.bench.report_storm import show_storm
    from diffusion.console import Console
    from infra.settings import load

    plan = measured.Plan(users, seconds, writes, conversations, seed)
    outcome = measured.run(load(), plan, Console())
    _finish(outcome, show_storm, json=json)


@bench.command(name="tracing")
def bench_tracing(*, rounds: int = 3, seed: int = 1, json: Json = False) -> None:
    """Measure what ids and spans cost: stream stage and sync, without, with 1 % and with all.

    Starts servers of its own, and a collector. Exit code 1 if a bound does not hold.

    Parameters
    ----------
    rounds
        Turns of each way; the median counts.
    seed
        Draws ids and what is sampled.

    """
    from diffusion.bench import tracing as measured
    from diffusion.bench.report_tracing import show_tracing
    from diffusion.console import Console
    from infra.settings import load

    _finish(measured.run(load(), rounds, seed, Console()), show_tracing, json=json)
