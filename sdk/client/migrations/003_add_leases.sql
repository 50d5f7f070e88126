-- When the last full correction was begun, and when all that is held was last seen to be the server's.
ALTER TABLE sync_state ADD COLUMN full_at_ms INTEGER;
ALTER TABLE sync_state ADD COLUMN verified_at_ms INTEGER;

-- How many conversations the pages of the full correction that is under way, or of the last one, named.
ALTER TABLE sync_state ADD COLUMN done INTEGER NOT NULL DEFAULT 0;

-- Until when an entry is somebody's to process (0: nobody's), and its place in the order of the list,
-- kept beside the conversation's own so that the next entry is found without sorting all of them. Older
-- code neither leases nor ranks: it hands out what is leased, and what it puts in comes last. Both are
-- allowed.
ALTER TABLE pending ADD COLUMN leased_until_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE pending ADD COLUMN rank INTEGER NOT NULL DEFAULT 0;
UPDATE pending SET rank = coalesce(
    (SELECT activity_ms + pinned * 9007199254740992 FROM conversations WHERE conversation_id = item_id), 0)
    WHERE module = '';

-- An entry is in one index of the three: ready, a conversation or an item; or waiting, for a retry or
-- for the end of a lease. So thousands that wait are not in the way of the next one that is ready.
-- The last one says <> and not >, which the planner would take for the place to begin at.
CREATE INDEX pending_by_rank ON pending (rank DESC, item_id)
    WHERE module = '' AND next_retry_at_ms = 0 AND leased_until_ms = 0;
CREATE INDEX pending_by_ticket ON pending (ticket)
    WHERE module <> '' AND next_retry_at_ms = 0 AND leased_until_ms = 0;
CREATE INDEX pending_waiting ON pending (max(next_retry_at_ms, leased_until_ms))
    WHERE max(next_retry_at_ms, leased_until_ms) <> 0;
