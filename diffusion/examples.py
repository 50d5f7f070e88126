"""Examples of every command, as its `--help` shows them: a table, so that tests can read it.

A new command of `diffusion.cli` needs a line here; the tests parse each example by the command
line's own parser.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from cyclopts import App

EXAMPLES: Final[dict[str, tuple[str, ...]]] = {
    "": (
        "diffusion up",
        "diffusion sync ann --store ann.db",
        "diffusion bench --help",
    ),
    "api": ("diffusion api",),
    "bench": (
        "diffusion bench policy",
        "diffusion bench sync --conversations 1000 --json",
    ),
    "bench connect": ("diffusion bench connect --connections 500 --seconds 20 --writes 100",),
    "bench correction": ("diffusion bench correction --conversations 1000 --conversations 10000",),
    "bench growth": ("diffusion bench growth --page docs/growth.md",),
    "bench latency": ("diffusion bench latency --seconds 20",),
    "bench policy": (
        "diffusion bench policy",
        "DIFFUSION_POLICY_SYNC_RATE_PER_HOUR=8 diffusion bench policy",
    ),
    "bench recovery": ("diffusion bench recovery --conversations 2000",),
    "bench soak": ("diffusion bench soak --minutes 5 --conversations 100000",),
    "bench storm": ("diffusion bench storm --users 1000 --seconds 5",),
    "bench sync": (
        "diffusion bench sync --conversations 1000 --conversations 10000",
        "diffusion bench sync --throughput-only",
    ),
    "bench tracing": ("diffusion bench tracing --rounds 1",),
    "bench write": ("diffusion bench write --messages 20000",),
    "chaos": ("diffusion chaos --minutes 20 --seed 1",),
    "completion": (
        "diffusion completion bash > ~/.diffusion.bash  # then source it",
        "diffusion completion zsh > ~/.zfunc/_diffusion",
        "diffusion completion fish > ~/.config/fish/completions/diffusion.fish",
    ),
    "demo": (
        "diffusion demo",
        "diffusion demo --groups 5 --json",
    ),
    "dlq": (
        "diffusion dlq list",
        "diffusion dlq replay conversation-writes --upto 17",
    ),
    "dlq drop": ("diffusion dlq drop user-writes --upto 3",),
    "dlq list": (
        "diffusion dlq list",
        "diffusion dlq list user-writes --limit 100",
    ),
    "dlq replay": ("diffusion dlq replay conversation-writes --upto 17",),
    "dlq show": ("diffusion dlq show conversation-writes 17",),
    "doctor": (
        "diffusion doctor",
        "diffusion doctor --json",
    ),
    "down": ("diffusion down",),
    "explain": (
        "diffusion explain sg_42",
        "diffusion explain sg_42 --json",
    ),
    "fuzz": (
        "diffusion fuzz --records 1000000 --requests 100000",
        "diffusion fuzz --first 4711 --records 1  # one again",
    ),
    "import": (
        "diffusion import conversations.ndjson",
        "diffusion import conversations.ndjson --resume",
    ),
    "materializer": (
        "diffusion materializer",
        "diffusion materializer --processes 2",
    ),
    "migrate": ("diffusion migrate",),
    "openim-tap": (
        "DIFFUSION_OPENIM_BOOTSTRAP_SERVERS=openim-kafka:9092 diffusion openim-tap",
    ),
    "replay": (
        "diffusion replay tests/data/private_messages.csv.gz",
        "diffusion replay tests/data/group_messages.csv.gz --groups 5 --speed 60",
    ),
    "settings": (
        "diffusion settings",
        "diffusion settings --json",
    ),
    "simulate": (
        "diffusion simulate --seeds 10000",
        "diffusion simulate --first 4711 --seeds 1  # one again",
    ),
    "status": (
        "diffusion status",
        "diffusion status --json",
    ),
    "stream-worker": (
        "diffusion stream-worker",
        "diffusion stream-worker --processes 4",
    ),
    "sync": (
        "diffusion sync ann --store ann.db  # goes on live on a terminal",
        "diffusion sync ann --verify --no-follow",
        "diffusion sync ann --devices",
        "diffusion sync ann --url https://sync.example.com --ca-file ca.pem",
    ),
    "targets": (
        "diffusion targets --stream-workers 4 --materializers 2 > targets.json",
    ),
    "token": ("diffusion token ann --hours 8",),
    "top": (
        "diffusion top",
        "diffusion top --once --interval 10",
        "diffusion top --json",
        "diffusion top --targets targets.json  # of `diffusion targets`",
    ),
    "trace": (
        "diffusion trace ann sg_42",
        "diffusion trace --at 3/1234",
    ),
    "up": (
        "diffusion up",
        "diffusion up --fresh  # forgets what they held",
    ),
}  # fmt: skip
"""Words of a command -> what one types. What follows two blanks and a `#` says what for."""


def attach(app: App) -> None:
    """Put the examples below the help of each command. To be called when all are registered."""
    for words, command in commands(app):
        # One without is a test's business, and no reason for the others not to run.
        if words in EXAMPLES:
            command.help_epilogue = "Examples:\n\n```\n" + "\n".join(EXAMPLES[words]) + "\n```"


def commands(app: App, words: str = "") -> Iterator[tuple[str, App]]:
    """All commands of a command line with their words, groups of them included."""
    yield words, app
    for name in app:
        if not name.startswith("-"):
            yield from commands(app[name], f"{words} {name}".strip())
