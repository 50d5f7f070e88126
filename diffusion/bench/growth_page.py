"""What `diffusion bench growth` measured, as a page: a picture and tables, from its JSON. PURE."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

HEAD: Final = """\
# How costs grow

`diffusion bench growth` lets one thing grow by powers of ten while the work stays the same, and
asks what one unit of that work costs: a member told, a row, a sync that tells as many changes. A
cost that does not grow has the exponent 0 (`cost = a * size^exponent`, least squares in log-log),
one in proportion to the size has 1.

![Processor time of one unit of work, by members, users, conversations and windows]({picture})

To repeat it, on servers that it starts itself, in ten to fifteen minutes:

    ./dev bench growth --page docs/growth.md

- *members*: a message to groups of 10 to 10,000. As many members are told at every size, by one
  message to each of so many groups, and the next round begins when all of this one is readable:
  neither stage has anything to fold. The stream stage runs without Faust, whose share is per
  record and does not depend on members; what a whole stream worker spends on a message is under
  "Of one piece of work". Above `policy.members_max` (5,000) a group is READ: one head, and a read
  marker for the sender; the names of these costs begin with `read_`.
- *users*: a materializer drains as many rows, spread over 1,000 to a million users who all have a
  row already; and syncs of users among them.
- *conversations*: syncs of a user with 10 to 50,000 conversations, written through the pipeline,
  and another row in his partition.
- *windows*: the same for a user of whom the index has rows of an hour to a week, 8 in each window
  of 10 minutes; and the sync of a device that was away for half of that, which reads what changed
  since, and no more.

`*` marks what may not grow: an exponent of at most 0.1, or at no size more than 1.5 times the
cost at the smallest (`diffusion/bench/growth_fit.py` says why). At the end what devices are told
and what is in the index is compared with what was written.
"""

WHOLE_FROM: Final = 100
"""Numbers from here on are told without a fraction, smaller ones with three digits."""


def page(found: Mapping[str, Any], picture: str) -> str:
    """Write the page of `Outcome.as_json`; `picture` is the address of the picture from it."""
    parts = [HEAD.format(picture=picture)]
    parts += ["\n".join(_series(one)) for one in found["series"]]
    units = [f"| `{name}` | {value:,g} |" for name, value in found["units"].items()]
    parts.append("\n".join(["### Of one piece of work", "", "| | |", "|---|---:|", *units]))
    held = [f"| {name} | {'yes' if holds else '**no**'} |" for name, holds in found["held"].items()]
    parts.append("\n".join(["### Held", "", "| | |", "|---|---|", *held]))
    parts.append(f"Machine: {found['machine']}. {found['seconds']:,} s in all.")
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _series(series: Mapping[str, Any]) -> Iterator[str]:
    points, slopes = series["points"], series["exponent"]
    names = dict.fromkeys(name for point in points for name in point if name != "x")
    yield f"### {series['name']}"
    yield ""
    yield _row(series["unit"], *(f"{point['x']:,}" for point in points), "exponent")
    yield "|---|" + "---:|" * (len(points) + 1)
    for name in names:
        star = " \\*" if name in series["flat"] else ""
        costs = (_number(point[name]) if name in point else "" for point in points)
        yield _row(f"`{name}`{star}", *costs, f"{slopes[name]:+.2f}" if name in slopes else "")


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= WHOLE_FROM else f"{value:.3g}"
