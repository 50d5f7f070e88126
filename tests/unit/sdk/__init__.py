"""Unit tests of `sdk`."""
