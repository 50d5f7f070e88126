"""The routes of the page, and who may see it.

It names nobody: its figures are sums over all users. Still they say how large an installation is
and how it fares, so by default (`api.page`) it is there for this machine alone: for whoever comes
over loopback, by a name of loopback, and not through a proxy, which speaks for others. Another
site's page in a browser here may not read it: no answer allows another origin, and a name that
another site lets lead here is no name of loopback.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any, Final

from litestar import MediaType, Request, Response, get
from litestar.connection import ASGIConnection
from litestar.exceptions import NotFoundException
from litestar.handlers.base import BaseRouteHandler

from infra.figures.figures import Figures
from syncapi.page.board import Board

FOLDER: Final = Path(__file__).parent

FILES: Final = {
    "page.js": "text/javascript",
    "style.css": "text/css",
    "icon.svg": "image/svg+xml",
}
"""What the page needs besides: name -> its type."""

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page may use what this API serves, and nothing else; nor may another page frame it."""

HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Not kept by a browser: page and API are of one release, and small."""

FORWARDED: Final = frozenset({"forwarded", "x-forwarded-for", "x-real-ip", "via"})
"""Headers by which a proxy says that it speaks for others."""

HIDDEN: Final = (
    "The page of live figures is shown to whoever asks from the API's own machine, by localhost. "
    "`api.page` (DIFFUSION_API_PAGE=true) shows it to all who reach the API."
)


def may_see(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Raise `NotFoundException` for whom the page is not there."""
    wanted: bool | None = connection.app.state.page
    if wanted is None:
        wanted = is_local(connection)
    if not wanted:
        raise NotFoundException(HIDDEN)


def is_local(connection: ASGIConnection[Any, Any, Any, Any]) -> bool:
    """Whether somebody on this machine asks, as far as it can be told."""
    client = connection.client
    if client is None or not _is_loopback(client.host):
        return False
    if any(name in FORWARDED for name in connection.headers):
        return False
    # No browser has spoken it for decades, and nginx does to what is behind it, without a word of
    # whom it speaks for, unless it is told otherwise.
    if connection.scope.get("http_version") == "1.0":
        return False
    return _is_loopback(_host_of(connection.headers.get("host", "")))


def _host_of(header: str) -> str:
    """The name in a `Host` header, without the port."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0]


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@get(
    "/",
    media_type=MediaType.HTML,
    summary="A page of live figures, for a browser",
    guards=[may_see],
)
async def page() -> Response[bytes]:
    """Show what the system does, in words and charts; it names nobody."""
    return _file("index.html", "text/html")


@get("/page/{name:str}", media_type=MediaType.TEXT, guards=[may_see], include_in_schema=False)
async def page_file(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Give a file that the page needs."""
    name: str = request.path_params["name"]
    if name not in FILES:
        raise NotFoundException(f"The page has the files {', '.join(FILES)}.")
    return _file(name, FILES[name])


@get("/figures", summary="The figures that the page draws", guards=[may_see])
async def figures_now(request: Request[Any, Any, Any]) -> Response[Figures]:
    """Tell what the processes count together, a second old at most: rates of the last seconds, sums
    since they started, and which of them answer. A figure that is not known is null.
    """
    board: Board = request.app.state.board
    return Response(await board.figures(), headers=HEADERS)


ROUTES: Final = (page, page_file, figures_now)


def _file(name: str, kind: str) -> Response[bytes]:
    return Response(
        (FOLDER / name).read_bytes(), media_type=f"{kind}; charset=utf-8", headers=HEADERS
    )
