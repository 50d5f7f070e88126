-- How many conversations the server said there are, when the full correction that is under way, or the
-- last one, began. Older code leaves it as it is, so the compat version stays.
ALTER TABLE sync_state ADD COLUMN total INTEGER;
