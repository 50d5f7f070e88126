"""A device that follows and processes until it is killed: run by `test_client_kill.py`.

Processing a change is a line in a file, written before the acknowledgement: what was processed, and
the sequences that the list showed then.
"""

from __future__ import annotations

import os
import sys

from sdk.client import PendingItem, SyncClient

LEASE_S = 0.2
"""Short, because what a killed device had claimed comes again after it."""


def process(client: SyncClient, log: int, conversation_id: str) -> None:
    view = client.conversation(conversation_id)
    assert view is not None
    os.write(log, f"{conversation_id} {view.last_seq} {view.read_seq}\n".encode())


def main(url: str, token: str, store: str, log_path: str) -> None:
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(sys.stdout.fileno(), b"here\n")  # what is killed before has done nothing
    with SyncClient(url, token=token, store=store, lease_s=LEASE_S, page_max=8) as client:
        for change in client.changes():
            if not isinstance(change, PendingItem):
                process(client, log, change.conversation_id)
            client.ack(change)


if __name__ == "__main__":
    main(*sys.argv[1:])
