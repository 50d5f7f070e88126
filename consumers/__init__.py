"""The materializer: from the change log to rows that a sync reads."""
