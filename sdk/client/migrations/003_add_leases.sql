-- When the last full correction was begun, and when all that is held was last seen to be the server's.
ALTER TABLE sync_state ADD COLUMN full_at_ms INTEGER;
ALTER TABLE sync_state ADD COLUMN verified_at_ms INTEGER;

-- Until when an entry is somebody's to process, and its place in the order of the list, kept beside the
-- conversation's own so that the next entry is found without sorting all of them. Older code neither
-- leases nor ranks: it hands out what is leased, and what it puts in comes last. Both are allowed.
ALTER TABLE pending ADD COLUMN leased_until_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE pending ADD COLUMN rank INTEGER NOT NULL DEFAULT 0;
UPDATE pending SET rank = coalesce(
    (SELECT activity_ms + pinned * 9007199254740992 FROM conversations WHERE conversation_id = item_id), 0)
    WHERE module = '';
CREATE INDEX pending_by_rank ON pending (rank DESC, item_id) WHERE module = '';
