"""The command line: each command a few lines that call what does the work.

An error of ours is one clear sentence on standard error and exit code 1; `--json` prints one
object on standard output. Imports of what a command needs are inside it, so that `diffusion
--help` is quick and a device's `sync` needs no server packages.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from diffusion.bench.commands import bench
from diffusion.chaos.commands import chaos
from diffusion.completion_command import completion_of
from diffusion.dlq_commands import dlq
from diffusion.doctor_command import doctor
from diffusion.examples import attach
from diffusion.fuzz_commands import fuzz
from diffusion.import_command import import_
from diffusion.openim_commands import openim_tap
from diffusion.output import DATA, Json, fail, print_json
from diffusion.settings_command import show_settings
from diffusion.targets import targets
from diffusion.top_command import top
from diffusion.trace_command import trace
from infra import logs
from schemas.errors import DiffusionError

app = App(
    name="diffusion",
    help="Write-diffusion sync: IM conversations, changes recorded at write time.",
    version="0.1.0",
)
app.command(bench)
app.command(dlq)
app.command(chaos)
app.command(doctor)
app.command(fuzz)
app.command(import_, name="import")
app.command(show_settings, name="settings")
app.command(targets)
app.command(trace)
app.command(top)
app.command(openim_tap, name="openim-tap")
app.command(completion_of(app), name="completion")

PROCESSES_HELP = "So many on this machine, each started again when it ends; one a core is best."


def main() -> None:
    """Entry point of the console script."""
    logs.begin_by_environment("diffusion")
    try:
        app()
    except DiffusionError as error:
        fail(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


@app.command
def up(*, fresh: Annotated[bool, Parameter(negative=())] = False) -> None:
    """Start Kafka and Cassandra on this machine, and make topics and tables.

    Parameters
    ----------
    fresh
        Delete what they hold first.

    """
    from diffusion.console import Console
    from diffusion.local import existing, managed
    from diffusion.migrate import migrate
    from infra.settings import load

    settings, console = load(), Console()
    servers = managed(settings, console.server)
    if servers is None:
        away = [one for one in existing(settings) if not one.answers]
        if away:
            fail(" ".join(one.detail for one in away))
        console.say("Kafka and Cassandra are somebody else's, and answer.")
    else:
        servers.up(fresh=fresh)
    migrate(settings, console.say)
    status()


@app.command
def down() -> None:
    """Stop the Kafka and Cassandra of this machine; what they hold stays."""
    from diffusion.console import Console
    from diffusion.local import managed
    from infra.settings import load

    console = Console()
    servers = managed(load(), console.server)
    if servers is None:
        fail("Kafka and Cassandra are somebody else's: there is nothing of ours to stop.")
        return
    servers.down()


@app.command
def status(*, json: Json = False) -> None:
    """Show what runs. Exit code 1 if Kafka or Cassandra does not answer."""
    from diffusion.status import rows, show
    from infra.settings import load

    found = rows(load())
    if json:
        print_json([one.as_json() for one in found])
    else:
        show(found)
    if not all(one.answers for one in found):
        sys.exit(1)


@app.command
def migrate() -> None:
    """Make topics, keyspace and tables, and take the epochs. Safe to run again."""
    from diffusion.console import Console
    from diffusion.migrate import migrate as run
    from infra.settings import load

    run(load(), Console().say)


@app.command(name="stream-worker")
def stream_worker(*, processes: Annotated[int, Parameter(help=PROCESSES_HELP)] = 1) -> None:
    """Run a stream worker: write events in, change records out. Scale by starting more."""
    if processes != 1:
        _fleet("stream-worker", processes)
        return
    from diffusion import announced
    from streams.__main__ import main as program

    announced.run("stream-worker", program)


@app.command
def materializer(*, processes: Annotated[int, Parameter(help=PROCESSES_HELP)] = 1) -> None:
    """Run a materializer: change records in, rows out. Scale by starting more."""
    if processes != 1:
        _fleet("materializer", processes)
        return
    from consumers.__main__ import main as program
    from diffusion import announced

    announced.run("materializer", program)


def _fleet(kind: str, count: int) -> None:
    from diffusion import fleet
    from infra.settings import load

    fleet.run(kind, count, load())


@app.command
def api() -> None:
    """Run one sync API process; at `/` it has a page of live figures."""
    from diffusion import announced
    from syncapi.__main__ import main as program

    announced.run("api", program)


@app.command
def token(user: str, *, hours: float = 1.0) -> None:
    """Print a bearer token of a user, signed with `api.jwt_secret`: for trying things out."""
    from infra.clock import now_ms
    from infra.settings import load
    from syncapi.auth import issue

    signed = issue(load().api, user, now_ms=now_ms(), lifetime_s=int(hours * 3_600))
    sys.stdout.write(signed + "\n")


@app.command
def replay(
    file: Path,
    *,
    seed: int = 1,
    groups: int | None = None,
    speed: float | None = None,
    json: Json = False,
) -> None:
    """Turn a message trace into write events and produce them.

    Parameters
    ----------
    file
        A CSV of `sender,recipient,sent_at_s` or `group,sender,sent_at_s`, gzipped or not.
    seed
        Draws who reads what, who joins without history, who leaves.
    groups
        Take only the first so many groups.
    speed
        1 is real time, 60 a minute a second; without it, as fast as it goes.

    """
    from diffusion.console import Console
    from diffusion.replay import replay as run
    from diffusion.trace import read_trace
    from diffusion.workload import workload
    from diffusion.writing import producer_for
    from infra.settings import load

    settings = load()
    events = workload(read_trace(file), seed, groups=groups)
    # Drawn twice, once to know how many there are: a second for 100,000, and a bar that ends.
    total = sum(1 for _ in workload(read_trace(file), seed, groups=groups))
    with (
        Console().progress(f"replaying {file.name}", total) as update,
        producer_for(settings.kafka) as producer,
    ):
        done = run(events, producer, speed=speed, on_event=lambda _: update(advance=1))
    if json:
        print_json({"events": done.events, "messages": done.messages, "seconds": done.seconds})
    else:
        sys.stdout.write(
            f"{done.events:,} events, {done.messages:,} of them messages, in {done.seconds:.1f} s\n"
        )


@app.command
def sync(  # noqa: PLR0913  # the options of a command
    user: str,
    *,
    url: str | None = None,
    token: str | None = None,
    ca_file: Path | None = None,
    device: str = "terminal",
    store: str = ":memory:",
    limit: int = 20,
    verify: Annotated[bool, Parameter(negative=())] = False,
    follow: bool | None = None,
    devices: Annotated[bool, Parameter(negative=())] = False,
    json: Json = False,
) -> None:
    """Sync a device of a user and show its conversations.

    Parameters
    ----------
    url
        The API; by default the one of the settings.
    token
        Bearer token; by default one signed with the settings.
    ca_file
        Certificates of the authorities that may vouch for the API, if it speaks TLS; by default
        those that every client trusts.
    store
        SQLite file of the device; by default a new device every time.
    limit
        How many conversations to show.
    verify
        Compare all that is held with what the server has, and correct what differs.
    follow
        Go on live, in a table that is drawn again when something changes, until Ctrl-C; with
        `--json`, one line for each event. By default if the output is a terminal.
    devices
        Sync nothing: show the devices of the user that came back with a cursor, and how far behind
        each is, as Cassandra has them.

    """
    if devices:
        _devices(user, json=json)
        return
    from diffusion.sync import sync as run

    run(
        user,
        url=url,
        token=token,
        ca_file=ca_file,
        device=device,
        store=store,
        limit=limit,
        verify=verify,
        follow=sys.stdout.isatty() and not json if follow is None else follow,
        json=json,
    )


def _devices(user: str, *, json: bool) -> None:
    from diffusion import devices
    from infra.settings import load

    settings = load()
    found = devices.run(settings, user)
    if json:
        print_json({"user_id": user, "devices": [one.as_json() for one in found]})
    else:
        devices.show(user, found, settings.api.device_ttl_days)


@app.command
def demo(*, groups: int = 20, seed: int = 1, data: Path = DATA, json: Json = False) -> None:
    """Show everything on real servers and a real trace, and check every user against an oracle.

    Parameters
    ----------
    groups
        How many groups of the group trace to replay beside the whole private trace.
    seed
        Draws who reads what, who joins without history, who leaves.
    data
        Folder of the two traces.

    """
    from diffusion import demo as demonstration
    from diffusion.console import Console
    from diffusion.report import show
    from infra.settings import load

    plan = demonstration.Plan(
        data / "private_messages.csv.gz", data / "group_messages.csv.gz", groups, seed
    )
    outcome = demonstration.run(load(), plan, Console())
    if json:
        print_json(outcome.as_json())
    else:
        show(outcome)
    if not outcome.good:
        fail(
            f"{outcome.users_checked - outcome.users_converged} users and "
            f"{outcome.old_devices_checked - outcome.old_devices_converged} old devices do not "
            "agree with the oracle."
        )


@app.command
def explain(conversation: str, *, json: Json = False) -> None:
    """Say how a conversation is diffused, since when and why, and what would change it."""
    from diffusion import explain as explanation
    from infra.settings import load

    found = explanation.run(load(), conversation)
    if json:
        print_json(found.as_json())
    else:
        explanation.show(found)


@app.command
def simulate(
    *,
    seeds: int = 200,
    first: int = 0,
    minutes: float | None = None,
    mutation: str = "none",
    json: Json = False,
) -> None:
    """Run the real logic in worlds of its own, on a modelled log, store, network and clock.

    Exit code 1 if a law was broken. The same seed makes the same world.

    Parameters
    ----------
    seeds
        How many worlds.
    first
        The seed of the first one.
    minutes
        Begin no more worlds after so long.
    mutation
        Plant a fault, to see that it is found: a name of `diffusion.simulation.mutations`.

    """
    from diffusion.console import Console
    from diffusion.simulation import runs

    with Console().progress("worlds", total=seeds) as update:
        found = runs.simulate(
            range(first, first + seeds),
            mutation=mutation,
            minutes=minutes,
            on_world=lambda done: update(completed=done),
        )
    if json:
        print_json(found.as_json())
    else:
        runs.show(found)
    if found.broken:
        fail("A law was broken. Run the seed alone: diffusion simulate --first SEED --seeds 1")


attach(app)  # last: of all that is registered above
