"""Tests. A regular package, so that the folder wins over any other named `tests`."""
