"""The stream stage: write events in, change records out, conversation state kept in Cassandra."""
