"""Unit tests of `sdk.backend`."""
