"""The command `diffusion settings`."""

from __future__ import annotations

from diffusion.output import Json, print_json


def show_settings(*, json: Json = False) -> None:
    """Show all settings as a program started here has them, and the variable that sets each.

    Of secrets, only whether they are set.
    """
    from diffusion import settings
    from infra.settings import load

    found = settings.listed(load())
    if json:
        print_json(settings.as_json(found))
    else:
        settings.show(found)
