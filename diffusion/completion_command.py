"""The command `diffusion completion`: what a shell needs to complete words and options."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

from cyclopts import App

Shell: TypeAlias = Literal["bash", "zsh", "fish"]

DEV: Final[dict[Shell, str]] = {
    "bash": "complete -F _diffusion ./dev\n",
    "zsh": "compdef _cyclopts_diffusion dev\n",
    "fish": "complete --command dev --wraps diffusion\n",
}
"""`./dev` takes the words of `diffusion`. zsh and fish look for a command by its last part."""


def script(app: App, shell: Shell) -> str:
    """The script for a shell; it is static, so that completing starts no program."""
    written = app.generate_completion(prog_name="diffusion", shell=shell)
    return f"{written.rstrip()}\n{DEV[shell]}"


def completion_of(app: App) -> Callable[[Shell], None]:
    """The command for a command line, of which it completes what is registered when it runs."""

    def completion(shell: Shell, /) -> None:
        """Print what makes a shell complete commands and options, of `./dev` too.

        For this session only, in bash: `source <(diffusion completion bash)`.

        Parameters
        ----------
        shell
            The shell to write it for.

        """
        sys.stdout.write(script(app, shell))

    return completion
