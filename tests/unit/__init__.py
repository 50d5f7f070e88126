"""Unit tests: one module of the code each; no server, no sleep."""
