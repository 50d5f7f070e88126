"""`python -m diffusion`: the same as `diffusion`."""

from __future__ import annotations

from diffusion.cli import main

if __name__ == "__main__":
    main()
