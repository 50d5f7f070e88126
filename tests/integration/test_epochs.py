"""A change log made anew, on servers of its own: old cursors are reset, and nothing is lost."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from confluent_kafka.admin import AdminClient

from diffusion.demo import own_servers
from diffusion.local import managed
from diffusion.system import System, running
from infra.settings import Settings
from schemas import ids, topics
from schemas.events import Message
from tests.integration.support import NOW_MS, World


def test_a_change_log_made_anew_resets_old_cursors_and_loses_nothing(tmp_path: Path) -> None:
    """The topic is deleted and created again: offsets start over, with a new epoch before them."""
    settings = own_servers(Settings(), tmp_path / "servers")
    local = managed(settings)
    assert local is not None
    chat = ids.one_to_one("ann", "bob")

    def programs() -> AbstractContextManager[System]:
        return running(settings, logs=tmp_path, stream_workers=1, materializers=1, report=print)

    def message(seq: int) -> Message:
        return Message(chat, seq, "ann", NOW_MS + seq, ("ann", "bob"))

    local.up()
    try:
        with programs() as system:
            world = World(system)
            world.write(*(message(seq) for seq in range(1, 40)))
            with world.device("bob", store=tmp_path / "bob.db") as phone:
                assert phone.sync().reason == "fresh"
        admin = AdminClient({"bootstrap.servers": settings.kafka.bootstrap_servers})
        admin.delete_topics([topics.CHANGES.name])[topics.CHANGES.name].result(30)
        with programs() as system:
            world.system = system
            # Far fewer records than before: by offset alone they would all look old to the phone.
            world.write(message(40), message(41))
            with world.device("bob", store=tmp_path / "bob.db") as phone:
                assert phone.sync().reason == "epoch_changed"
                assert world.differences(phone, "bob") == []
                world.write(message(42))
                assert phone.sync().path == "delta"
                assert world.differences(phone, "bob") == []
    finally:
        local.down()
