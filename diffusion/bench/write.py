"""`diffusion bench write`: what writing costs, beside what Kafka, Cassandra and Faust can do.

On servers of its own, each measure in turns with its yardstick, in processes of their own:

- *limit* and *materializer*: rows a second of the driver alone, in the best batches found, and of
  the materializer draining a log that was filled before; distinct pairs of user and conversation.
- *stream*: events a second of the stream stage, twenty a record, and of a stock Faust agent, one a
  record.
- *naive* and *pipeline*: messages times members a second, of one insert for each, and of the whole
  pipeline replaying the group trace at full speed. Everybody is a member from the beginning.

At the end, devices of users are compared with the oracle.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from diffusion import verify
from diffusion.bench import children, drain, naive, stage, stage_one
from diffusion.bench.measure import in_mb, machine
from diffusion.console import Console
from diffusion.demo import pairs
from diffusion.migrate import migrate
from diffusion.oracle import Oracle
from diffusion.writing import producer_for
from infra.clock import monotonic_s
from infra.kafka.config import common
from infra.settings import Settings

ROUNDS: Final = 3
ROWS: Final = 96_000
"""Rows of a round of the materializer: six batches, the first of which does not count."""

STREAM_EVENTS: Final = 100_000
STOCK_EVENTS: Final = 8_000
NAIVE_SECONDS: Final = 10.0
USERS_CHECKED: Final = 300

HELD: Final = {"materializer": 0.8, "pipeline": 50.0, "stream": 15.0}
"""Least ratios to the yardsticks."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What was measured, once a round; the median counts."""

    rounds: tuple[float, ...]

    @property
    def middle(self) -> float:
        """The median."""
        return median(self.rounds)

    def as_json(self, name: str) -> dict[str, Any]:
        """Under the name of its unit, with the least and the greatest."""
        low, high = min(self.rounds), max(self.rounds)
        return {name: round(self.middle, 1), "min": round(low, 1), "max": round(high, 1)}


@dataclass(frozen=True, slots=True)
class Replay:
    """The whole pipeline: marks are messages times members. `told` were marked for a member,
    `folded` and `saved` needed no mark: told by a later message, or left to be looked at.
    """

    messages: int
    marks: int
    seconds: float
    told: int
    folded: int
    saved: int

    @property
    def marks_per_second(self) -> float:
        """Messages times members, by the time from the first write until all is readable."""
        return self.marks / self.seconds


@dataclass(frozen=True, slots=True)
class Outcome:
    """What `diffusion bench write --json` prints."""

    limit: Rates
    best: tuple[int, int]
    materializer: Rates
    stock: Rates
    stream: Rates
    naive: Rates
    pipeline: Replay
    peak_memory_mb: dict[str, float]
    machine: str
    users_checked: int
    differences: tuple[str, ...]

    @property
    def ratios(self) -> dict[str, float]:
        """To the yardsticks."""
        return {
            "materializer": self.materializer.middle / self.limit.middle,
            "stream": self.stream.middle / self.stock.middle,
            "pipeline": self.pipeline.marks_per_second / self.naive.middle,
        }

    @property
    def held(self) -> dict[str, bool]:
        """Each bound, and whether it holds."""
        found = {name: self.ratios[name] >= least for name, least in HELD.items()}
        return found | {"correct": not self.differences}

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        ratios, pipeline = self.ratios, asdict(self.pipeline)
        return {
            "limit": self.limit.as_json("rows_per_second")
            | {"rows_per_batch": self.best[0], "batches_in_flight": self.best[1]},
            "materializer": self.materializer.as_json("rows_per_second")
            | {"ratio_to_limit": round(ratios["materializer"], 3)},
            "naive": self.naive.as_json("marks_per_second"),
            "pipeline": pipeline
            | {
                "marks_per_second": round(self.pipeline.marks_per_second, 1),
                "ratio_to_naive": round(ratios["pipeline"], 1),
            },
            "stock": self.stock.as_json("events_per_second"),
            "stream": self.stream.as_json("events_per_second")
            | {"ratio_to_stock": round(ratios["stream"], 2)},
            "peak_memory_mb": self.peak_memory_mb,
            "machine": self.machine,
            "users_checked": self.users_checked,
            "differences": list(self.differences[:20]),
            "held": self.held,
        }


def run(settings: Settings, trace: Path, messages: int, seed: int, console: Console) -> Outcome:
    """Measure everything; raises `DiffusionError` if something cannot be done."""
    with stage.own(settings, console) as (used, folder):
        migrate(used, console.say)
        return _Bench(used, folder, trace, messages, seed, console).run()


def _make_topics(settings: Settings) -> None:
    """Topics of the stock agent: as many partitions as ours have."""
    kafka = settings.kafka
    client = AdminClient(common(kafka, "diffusion-bench"))
    wanted = (
        NewTopic(stage_one.STOCK_TOPIC, kafka.write_partitions, kafka.replication_factor),
        NewTopic(stage_one.STOCK_SINK, kafka.change_partitions, kafka.replication_factor),
    )
    for made in client.create_topics(list(wanted)).values():
        made.result()


class _Bench:
    """One run. The steps are in the order of `run`."""

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        trace: Path,
        messages: int,
        seed: int,
        console: Console,
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._trace = trace
        self._messages = messages
        self._seed = seed
        self._console = console
        self._peaks: dict[str, int] = {}
        self._differences: list[str] = []
        self._checked = 0

    def run(self) -> Outcome:
        """Measure, the materializer first: it wants a log in which nothing else is."""
        best, _ = children.run(drain.find_best, self._settings, self._seed)
        limit, materializer = self._materializer(best)
        stock, stream = self._stream()
        naive_rates, pipeline = self._pipeline()
        return Outcome(
            limit=Rates(tuple(limit)),
            best=best,
            materializer=Rates(tuple(materializer)),
            stock=Rates(tuple(stock)),
            stream=Rates(tuple(stream)),
            naive=Rates((naive_rates,)),
            pipeline=pipeline,
            peak_memory_mb=in_mb(self._peaks),
            machine=machine(),
            users_checked=self._checked,
            differences=tuple(self._differences),
        )

    def _materializer(self, best: tuple[int, int]) -> tuple[list[float], list[float]]:
        settings, seed = self._settings, self._seed
        limit, drained = [], []
        with self._console.progress("the materializer and its limit", total=ROUNDS) as update:
            for number in range(ROUNDS):
                written = drain.conversations(ROUNDS + number, ROWS, seed)
                rate, _ = children.run(drain.limit, settings, written, *best)
                limit.append(rate)
                found = drain.conversations(number, ROWS, seed)
                drain.fill(settings, found, settings.kafka.change_partitions)
                rows = len(found) * drain.MEMBERS
                rate, peak = children.run(drain.drain, settings, rows)
                drained.append(rate)
                self._peak("materializer, draining", peak)
                wrong, _ = children.run(drain.wrong_rows, settings, found)
                self._differences += wrong
                update(advance=1)
        return limit, drained

    def _stream(self) -> tuple[list[float], list[float]]:
        settings, seed = self._settings, self._seed
        _make_topics(settings)
        stock, stream = [], []
        with self._console.progress("the stream stage and a stock agent", total=ROUNDS) as update:
            for number in range(ROUNDS):
                stage_one.fill_stock(settings, number, STOCK_EVENTS, seed)
                stage_one.fill(settings, number, STREAM_EVENTS, seed)
                stock.append(stage_one.run_stock(settings, STOCK_EVENTS))
                rate, peak = stage_one.run_stage(settings, STREAM_EVENTS, self._folder)
                stream.append(rate)
                self._peak("stream worker, chats", peak)
                update(advance=1)
        return stock, stream

    def _pipeline(self) -> tuple[float, Replay]:
        settings, trace = self._settings, self._trace
        rate, _ = children.run(naive.write, settings, trace, self._messages, NAIVE_SECONDS)
        groups = naive.read(trace, self._messages)
        oracle = Oracle()
        with pairs(settings, self._folder, self._console) as system:
            # What the measures before left in the change log is drained first.
            system.wait_quiet()
            with producer_for(settings.kafka) as producer:
                for join in groups.joins():
                    producer.send(join)
                    oracle.apply(join)
            system.wait_quiet()
            names = ("marks", "folded_marks", "saved_marks")
            metrics = [f"diffusion_stream_{name}_total" for name in names]
            before = [system.processes.counted(name) for name in metrics]
            began_s = monotonic_s()
            with (
                self._console.progress("replaying", total=len(groups.messages)) as update,
                producer_for(settings.kafka) as producer,
            ):
                for message in groups.messages:
                    producer.send(message)
                    update(advance=1)
            system.wait_quiet()
            seconds = monotonic_s() - began_s
            after = [system.processes.counted(name) for name in metrics]
            told, folded, saved = (
                int(end - begin) for begin, end in zip(before, after, strict=True)
            )
            for message in groups.messages:
                oracle.apply(message)
            chatting: set[str] = set()
            for number in range(ROUNDS):
                for chat in stage_one.messages(number, STREAM_EVENTS, self._seed):
                    oracle.apply(chat)
                    chatting.update(chat.members or ())
            speaking = {user for members in groups.members.values() for user in members}
            rng = random.Random(self._seed)  # noqa: S311 -- a reproducible run
            for users in (sorted(speaking), sorted(chatting)):
                some = rng.sample(users, min(USERS_CHECKED, len(users)))
                self._check(verify.fresh_devices(system, oracle, some))
            for name, peak in system.processes.peaks().items():
                self._peak(name, peak)
        marks = groups.marks
        return rate, Replay(len(groups.messages), marks, round(seconds, 2), told, folded, saved)

    def _peak(self, name: str, peak: int) -> None:
        self._peaks[name] = max(peak, self._peaks.get(name, 0))

    def _check(self, found: verify.Verdict) -> None:
        self._checked += found.checked
        self._differences += found.differences
