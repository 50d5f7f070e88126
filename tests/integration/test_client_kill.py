"""A device that is killed 200 times, with SIGKILL, at random moments: nothing is lost, nothing goes
back, and every change was processed at least once.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from diffusion.system import System
from schemas import ids
from schemas.conversations import is_listed, last_seq
from schemas.events import Message, Read
from sdk.backend import WriteProducer
from sdk.client import SyncClient
from tests.integration import killed_device
from tests.integration.support import NOW_MS, World

KILLS = 200
PEERS = 40
ROOT = Path(__file__).parents[2]
ALIVE_S = (0.0, 0.6)
"""After its imports: from before the store is opened to long after the first changes were processed."""

EVENTS_PER_S = 40


class Writer(threading.Thread):
    """Writes messages and reads of one user until it is stopped, and tells the oracle of each."""

    def __init__(self, world: World, user: str, peers: list[str], rng: random.Random) -> None:
        super().__init__(daemon=True)
        self.world, self.user, self.peers, self.rng = world, user, peers, rng
        self.seqs = dict.fromkeys(peers, 0)
        self.over = threading.Event()

    def run(self) -> None:
        kafka = self.world.system.settings.kafka.bootstrap_servers
        with WriteProducer(kafka) as producer:
            while not self.over.wait(1 / EVENTS_PER_S):
                event = self.draw()
                producer.send(event)
                self.world.oracle.apply(event)

    def draw(self) -> Message | Read:
        peer = self.rng.choice(self.peers)
        chat = ids.one_to_one(self.user, peer)
        seq = self.seqs[peer]
        if seq and self.rng.random() < 0.3:
            return Read(self.user, chat, self.rng.randint(1, seq))
        self.seqs[peer] = seq + 1
        members = (self.user, peer)
        return Message(chat, seq + 1, self.rng.choice(members), NOW_MS + seq + 1, members)


def read_log(path: Path) -> list[tuple[str, int, int]]:
    lines = path.read_text().splitlines() if path.exists() else []
    return [(name, int(last), int(read)) for name, last, read in map(str.split, lines)]


def test_a_device_that_is_killed_200_times(
    system: System, unique: Callable[[str], str], tmp_path: Path
) -> None:
    rng = random.Random(7)
    user = unique("ann")
    world = World(system)
    store, log = tmp_path / "im.db", tmp_path / "processed"
    writer = Writer(world, user, [unique(f"peer{n}") for n in range(PEERS)], rng)
    token = system.token(user)
    worked = 0
    writer.start()
    for _ in range(KILLS):
        before = log.stat().st_size if log.exists() else 0
        device = subprocess.Popen(
            [sys.executable, "-m", killed_device.__name__, system.url, token, store, log],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert device.stdout is not None
        device.stdout.readline()
        time.sleep(rng.uniform(*ALIVE_S))
        device.kill()
        _, said = device.communicate()
        assert device.returncode == -signal.SIGKILL, said.decode()
        worked += (log.stat().st_size if log.exists() else 0) > before
    writer.over.set()
    writer.join()
    system.wait_quiet()
    assert worked >= KILLS // 4, "the device was mostly killed before it did anything"
    print(f"{KILLS} kills, {worked} of them after something was processed")

    descriptor = log.open("ab", buffering=0)
    with (
        descriptor,
        SyncClient(system.url, token=token, store=store, lease_s=killed_device.LEASE_S) as client,
    ):
        assert client._store.set_aside is None, "no kill damages the store"
        client.sync()
        assert world.differences(client, user) == []
        time.sleep(2 * killed_device.LEASE_S)
        while entries := client.pending():
            for entry in entries:
                killed_device.process(client, descriptor.fileno(), entry.conversation_id)
                assert client.ack(entry)
    processed = read_log(log)
    seen: dict[str, tuple[int, int]] = {}
    for name, last, read in processed:
        earlier = seen.get(name, (0, 0))
        assert (last, read) >= earlier, f"{name} went back"
        assert read >= earlier[1], f"{name} was read less"
        seen[name] = (last, read)
    expected = {
        one.conversation_id: (last_seq(one), one.read_seq)
        for one in world.oracle.states(user).values()
        if is_listed(one)
    }
    assert len(expected) == PEERS
    assert seen == expected, "every change was processed at least once"
