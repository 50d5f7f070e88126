"""The row of what devices get."""

from __future__ import annotations

from typing import Final

from infra.dashboards.panels import Panel, Query, Row, each, spread

SYNC: Final = Row(
    "Sync: what devices get",
    (
        Panel(
            "Syncs, by path",
            "Answers: a delta from the cursor, a correction of what differs, or a page of the full "
            "state. Deltas should be nearly all of them.",
            "reqps",
            each("diffusion_api_syncs_total", "path"),
            stacked=True,
        ),
        Panel(
            "Why not a whole delta",
            "Reasons of the other answers: a new device (fresh), a cursor that is too old, of "
            "another epoch or ahead, too many changes, a digest that differs, or more to come.",
            "reqps",
            each("diffusion_api_syncs_total", "reason", 'reason!="none"'),
            stacked=True,
        ),
        Panel(
            "Time to answer",
            "From the request read to the answer made, by path.",
            "s",
            spread("diffusion_api_sync_seconds", by="path"),
        ),
        Panel(
            "Bytes of an answer",
            "As sent, after compression, by path. A delta without news has a few dozen.",
            "bytes",
            spread("diffusion_api_answer_bytes", by="path"),
        ),
        Panel(
            "Bytes of a request",
            "As they came. Large ones carry a cursor with much in it, or a sketch.",
            "bytes",
            spread("diffusion_api_request_bytes"),
        ),
        Panel(
            "Conversations in an answer",
            "How many changed conversations one answer tells of, by path.",
            "short",
            spread("diffusion_api_entries", by="path"),
        ),
        Panel(
            "Refused and failed",
            "Answers that are problems, by status. 4xx is the client's doing (401: its token), 5xx "
            "ours (503: Cassandra does not answer, too much is asked, or the process goes away).",
            "reqps",
            each("diffusion_api_errors_total", "status"),
        ),
        Panel(
            "Refused for their number",
            "Requests and frames, by reason: user is one who asks too often, address one whose "
            "tokens are not valid too often, overload more than the process answers in time.",
            "reqps",
            each("diffusion_api_refused_total", "reason"),
            stacked=True,
            quiet=True,
        ),
        Panel(
            "Requests under way",
            "Syncs being answered, and how many may be, over all processes: fewer than the setting "
            "while an event loop is late. Beyond that, requests are refused for the overload. Both "
            "are 0 where `api.requests_max` is.",
            "short",
            (
                Query("sum (diffusion_api_requests)", "under way"),
                Query("sum (diffusion_api_requests_allowed)", "at most"),
            ),
            quiet=True,
        ),
        Panel(
            "Pending corrections",
            "Users whose whole state is being read, or waits to be, to be compared with a "
            "device's. A few at a time; a queue means that many devices check at once.",
            "short",
            (Query("sum (diffusion_api_pending_corrections)", "users"),),
            quiet=True,
        ),
        Panel(
            "Persistent connections",
            "Connections that stand, and how many all processes take.",
            "short",
            (
                Query("sum (diffusion_api_connections)", "stand"),
                Query("sum (diffusion_api_connections_max)", "at most"),
            ),
        ),
        Panel(
            "Frames",
            "On persistent connections, by kind: requests and pings in, answers, pokes and pongs "
            "out.",
            "cps",
            each("diffusion_api_frames_total", "kind"),
        ),
        Panel(
            "Connections that ended",
            "By reason: gone is the client or the network, resync a reader that was too slow, "
            "expired its token, drain a process that went away.",
            "cps",
            each("diffusion_api_closes_total", "reason"),
        ),
        Panel(
            "Pokes",
            "Users told that something changed, by outcome: sent, coalesced with one still on its "
            "way, or the user had gone.",
            "cps",
            each("diffusion_api_pokes_total", "outcome"),
        ),
        Panel(
            "From change to poke",
            "From a change appended to the change log to the poke of its user: what a person "
            "waits, besides the network.",
            "s",
            spread("diffusion_api_poke_seconds"),
        ),
        Panel(
            "How long devices were away",
            "From a cursor issued to its device coming back with it.",
            "s",
            spread("diffusion_api_device_age_seconds"),
        ),
        Panel(
            "Notes of devices",
            "Cursors that devices sent back, kept for operators: written, skipped because a newer "
            "note stands, dropped because there were too many, or failed.",
            "cps",
            each("diffusion_api_device_notes_total", "outcome"),
        ),
    ),
)
