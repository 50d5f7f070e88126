"""Tests of the Cassandra door, without a server."""
