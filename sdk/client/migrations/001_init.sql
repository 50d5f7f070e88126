-- The store of one user on one device: where the sync stands, the conversations, what is pending.
-- A migration runs once, in one transaction with the change of `user_version`; it is never edited
-- after a release, the next one gets the next number. Column types are SQLite's; no STRICT, so that
-- a system library from before 3.37 can read the file.

-- Oldest client version (as `user_version` counts them) that can still use this file. A migration
-- that older code cannot live with raises it.
CREATE TABLE schema_compat (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    compat_version INTEGER NOT NULL
);
INSERT INTO schema_compat (id, compat_version) VALUES (1, 1);

-- One row. `cursor` and `page` are never both set: a full correction that is under way has a page
-- token and no cursor. `revision` counts transactions of syncs, so that two processes cannot undo each other;
-- `ticket` is the last place given in the pending queue and never goes back.
CREATE TABLE sync_state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    cursor TEXT,
    page TEXT,
    generation INTEGER NOT NULL DEFAULT 0,
    revision INTEGER NOT NULL DEFAULT 0,
    ticket INTEGER NOT NULL DEFAULT 0,
    reset_reason TEXT,
    synced_at_ms INTEGER,
    CHECK (cursor IS NULL OR page IS NULL)
);

-- Server state, then what the list needs (derived, by the functions of schemas.conversations only),
-- then which full correction wrote the row last. `pinned` and `muted` serve both.
CREATE TABLE conversations (
    conversation_id TEXT PRIMARY KEY,
    max_seq INTEGER NOT NULL,
    active_at_ms INTEGER NOT NULL,
    read_seq INTEGER NOT NULL,
    member INTEGER NOT NULL,
    membership_at_ms INTEGER NOT NULL,
    user_max_seq INTEGER NOT NULL,
    min_seq INTEGER NOT NULL,
    deleted_seq INTEGER NOT NULL,
    deleted_at_ms INTEGER NOT NULL,
    pinned INTEGER NOT NULL,
    muted INTEGER NOT NULL,
    listed INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    unread INTEGER NOT NULL,
    activity_ms INTEGER NOT NULL,
    generation INTEGER NOT NULL
) WITHOUT ROWID;

-- The order of the list: the first screen is a walk along this index, however long the list is.
CREATE INDEX conversations_by_list_order
    ON conversations (pinned DESC, activity_ms DESC, conversation_id) WHERE listed = 1;

-- The badge: few conversations have unread messages, and only those are in this index.
CREATE INDEX conversations_unread
    ON conversations (unread) WHERE listed = 1 AND muted = 0 AND unread > 0;

-- What the server knows nothing of. A table of its own, so that no answer, delta or full, can touch it.
CREATE TABLE drafts (
    conversation_id TEXT PRIMARY KEY,
    draft TEXT NOT NULL,
    written_at_ms INTEGER NOT NULL
) WITHOUT ROWID;

-- Newest change known of each item of a user module (friends, folders, profile, ...).
CREATE TABLE modules (
    module TEXT NOT NULL,
    item_id TEXT NOT NULL,
    op TEXT NOT NULL,
    item_version INTEGER NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (module, item_id)
) WITHOUT ROWID;

-- What the app has yet to process. `module` is '' for a conversation, whose id is then `item_id`.
-- `kinds` are bits: 1 message, 2 read, 4 state. `ticket` is the place of the newest change in this
-- store's own line: unlike `version`, every change gets one, also a head read from the read side.
CREATE TABLE pending (
    module TEXT NOT NULL,
    item_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    ticket INTEGER NOT NULL,
    kinds INTEGER NOT NULL,
    enqueued_at_ms INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_retry_at_ms INTEGER NOT NULL DEFAULT 0,
    last_error TEXT,
    PRIMARY KEY (module, item_id)
) WITHOUT ROWID;
