"""Bulk-load what a backend has already: lines of a file to write events, with resume."""
