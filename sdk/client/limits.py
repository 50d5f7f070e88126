"""Every bound that the device client keeps on its own, with its reason.

Bounds that both ends must agree on are in `schemas.limits`.
"""

from __future__ import annotations

from typing import Final

RESTARTS_PER_SYNC_MAX: Final = 3
"""Times one sync lets a full correction start again; after that the server is asked later."""

PAGES_PER_SYNC_MAX: Final = 10_000
"""Answers to one sync: ten million conversations of 1,000 a page. More is a loop."""

CORRECTIONS_PER_SYNC_MAX: Final = 3
"""Rounds of one sync that ask which rows differ. One is enough, two if something changed meanwhile;
after the last, the whole state is fetched."""

CHECKED_DELTAS_PER_SYNC_MAX: Final = 2
"""Deltas of one sync after which the states still differ: the first may bring what is missing, the
second what came in between. The server of a busy user always has news to tell instead of digests;
after these it is asked for them outright."""

CUT_CORRECTIONS_PER_SYNC_MAX: Final = 10
"""Answers of one sync that tell only some of the rows that differ. Each costs two round trips, a
page of the whole state costs one."""

LISTED_ROWS_MAX: Final = 256
"""Rows of a range that is listed without need to look closer, when not everything can be listed:
three times as many as a part has on average."""

SPLITS_PER_ROUND_MAX: Final = 2
"""Times a round looks at finer parts: the server makes up to 4,096 of one, so two reach any row."""

SECONDS_PER_REQUEST_DEFAULT: Final = 30.0
"""Seconds without a byte before a request is given up: mobile networks stall for ten or twenty."""

SECONDS_TO_CONNECT_DEFAULT: Final = 10.0
"""Seconds to reach the server: a TCP handshake that lost three packets is through by then."""

SECONDS_TO_CLOSE: Final = 1.0
"""How long a connection that is closed waits for the other end to agree: a round trip of a bad
line, and not long after the network was changed, when nobody answers on the old one."""

SILENCE_SECONDS_MAX: Final = 75.0
"""Seconds without a byte after which a connection is dead: the server pings every 45, and a mobile
line may be silent for half a minute."""

CLOSE_TOKEN_EXPIRED: Final = 4401
"""Close code with which the server ends a connection whose token expired."""

POLL_S_MAX: Final = 24 * 3_600
"""Longest time between two looks of who follows."""

VERIFY_EVERY_S_MAX: Final = 366 * 24 * 3_600
"""Longest time between two comparisons of the whole state."""

RETRY_AFTER_SECONDS_MAX: Final = 3_600.0
"""Longest pause that a server may ask for; a mistyped header must not silence a device for days."""

REQUEST_ID_CHARS_MAX: Final = 64
"""Of the id under which a server has a request in its log; ours have 32."""

DETAIL_CHARS_MAX: Final = 500
"""Characters kept of an error's text, in a message or with a pending entry."""

RETRY_BASE_MS: Final = 1_000
"""First pause before a failed entry is due again is at most this long; each failure doubles it."""

RETRY_MAX_MS: Final = 5 * 60 * 1_000
"""Longest pause of a failed entry: as long as a person waits before he starts the app again."""

RECONNECT_BASE_MS: Final = 1_000
"""First pause before another attempt to reach the server is at most this long."""

RECONNECT_MAX_MS: Final = 60_000
"""Longest pause of ours between attempts: who looks at a stale list looks for a minute."""

FIRST_PAGE_MAX: Final = 150
"""Conversations of the first page: seven screens of a phone, in a quarter of a second at
16 KB/s."""

PAGE_LEAST: Final = 25
"""Conversations to which pages shrink when the line keeps breaking: with fewer, what surrounds them
costs more than they do."""

PAGE_COST_ROWS: Final = 34
"""What surrounds a page of a full correction, in rows of it: heads of HTTP, the bearer token among
them, and page tokens, together 830 bytes (`diffusion bench recovery`); a row has 24, compressed."""

ROWS_BETWEEN_BREAKS: Final = FIRST_PAGE_MAX**2 / (2 * PAGE_COST_ROWS)
"""Rows that are taken to come between two breaks of a line of which nothing is known: those for
which the best page is `FIRST_PAGE_MAX`. Pages have 500 after 13,500 rows without a break."""

PACE_MEMORY: Final = 0.75
"""What counts of what was seen before a break: the last four stretches make up most of what is
expected of the next; fewer would follow chance."""

POLL_MS_DEFAULT: Final = 60_000
"""Who follows asks at least this often: large, busy conversations do not poke."""

VERIFY_EVERY_MS_DEFAULT: Final = 24 * 3_600_000
"""How often all that is held is compared with the server's: the comparison is 16 bytes, and for the
server a read of the whole state."""

FULL_EVERY_MS: Final = 3_600_000
"""Full corrections of a store that was complete begin once in this time, if nobody asks for more: a
fault that calls for one after the other must not become a load."""

OUTCOMES_KEPT: Final = 16
"""Rounds whose ends are remembered, for callers that are slow to look."""

RETRY_DOUBLINGS_MAX: Final = 20
"""Doublings after which the pause no longer grows; keeps the arithmetic small after any number."""

LEASE_MS_DEFAULT: Final = 30_000
"""How long an entry is its claimer's: several times what pulling the messages of one screen of
conversations takes. After a crash the entry waits as long, which a person still bears."""

LEASE_MS_MAX: Final = 60 * 60 * 1_000
"""Longest lease: nothing that a device does for one conversation takes an hour. One that ends later
still was written before the clock was set back."""

PENDING_DEFAULT: Final = 50
"""Entries handed out at once: about one screen of the list with what comes next."""

PENDING_MAX: Final = 1_000
"""Most entries handed out at once; they are all held in memory."""

CONVERSATIONS_DEFAULT: Final = 50
"""Rows of the list read at once: two screens of a phone."""

CONVERSATIONS_MAX: Final = 1_000
"""Most rows of the list read at once; longer lists are read page after page."""

LOOK_AGAIN_S: Final = 1.0
"""How long an iterator over changes sleeps at most: leases and pauses of entries end meanwhile."""

DRAFT_CHARS_MAX: Final = 20_000
"""Characters of a draft: five times the longest message that common IM systems send."""

STORE_BUSY_MS: Final = 5_000
"""How long a transaction waits for another process that has the same store open."""

STORE_CHECKED_PAGES_MAX: Final = 8_192
"""Pages (of 4,096 bytes) of a store whose structure is checked on every opening: 32 MiB, which
50,000 conversations do not reach. More would take longer than an opening may."""

STORE_WAL_BYTES_KEPT: Final = 4 * 1024 * 1024
"""Bytes that the write-ahead log keeps on the disk when it is begun anew: the 1,000 pages after
which SQLite empties it. One large transaction would leave it as large for good."""

STORE_OPENINGS_MAX: Final = 3
"""Times that one opening begins a new file. If new files are damaged too, it is the disk."""

assert LEASE_MS_DEFAULT <= LEASE_MS_MAX
assert RETRY_MAX_MS <= LEASE_MS_MAX, "no entry waits longer than a lease"
assert RETRY_BASE_MS << RETRY_DOUBLINGS_MAX >= RETRY_MAX_MS, "the cap is reached"
