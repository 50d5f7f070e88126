"""Chaos on the real thing: real processes and servers under load, hurt in every way, and judged."""
