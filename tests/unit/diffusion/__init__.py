"""Unit tests of `diffusion`."""
