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

RETRY_AFTER_SECONDS_MAX: Final = 3_600.0
"""Longest pause that a server may ask for; a mistyped header must not silence a device for days."""

DETAIL_CHARS_MAX: Final = 500
"""Characters kept of an error's text, in a message or with a pending entry."""

RETRY_BASE_MS: Final = 1_000
"""First pause before a failed entry is due again is at most this long; each failure doubles it."""

RETRY_MAX_MS: Final = 5 * 60 * 1_000
"""Longest pause of a failed entry: as long as a person waits before he starts the app again."""

RETRY_DOUBLINGS_MAX: Final = 20
"""Doublings after which the pause no longer grows; keeps the arithmetic small after any number."""

PENDING_DEFAULT: Final = 50
"""Entries handed out at once: about one screen of the list with what comes next."""

PENDING_MAX: Final = 1_000
"""Most entries handed out at once; they are all held in memory."""

CONVERSATIONS_DEFAULT: Final = 50
"""Rows of the list read at once: two screens of a phone."""

CONVERSATIONS_MAX: Final = 1_000
"""Most rows of the list read at once; longer lists are read page after page."""

DRAFT_CHARS_MAX: Final = 20_000
"""Characters of a draft: five times the longest message that common IM systems send."""

STORE_BUSY_MS: Final = 5_000
"""How long a transaction waits for another process that has the same store open."""

assert RETRY_BASE_MS << RETRY_DOUBLINGS_MAX >= RETRY_MAX_MS, "the cap is reached"
