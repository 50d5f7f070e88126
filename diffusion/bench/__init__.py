"""Benchmarks: each a yardstick beside what is measured, in the same run."""
