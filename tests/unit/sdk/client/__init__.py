"""Unit tests of `sdk.client`."""
