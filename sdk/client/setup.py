"""What a client is made of, told once by the app and shared by both kinds of client."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdk.client.errors import StoreOwnerError
from sdk.client.events import ClientEvent
from sdk.client.session import Session
from sdk.client.steps import Options
from sdk.client.store import Store
from sdk.client.tokens import TokenSource, user_of

if TYPE_CHECKING:
    import ssl

    from sdk.client.aio_transport import AsyncTransport
    from sdk.client.transport import Transport


@dataclass(frozen=True, slots=True)
class Setup:
    """The parts of a client. `clock` gives milliseconds since 1970, `rng` the jitter.

    `transport` is what the app brings instead of a server's `url` and a `token`, and closes itself.
    `tls` is whom to believe, None: those whom the system does.
    """

    store: Store
    options: Options
    lease_ms: int
    clock: Callable[[], int]
    rng: random.Random
    listeners: tuple[Callable[[ClientEvent], None], ...] = ()
    url: str = ""
    token: TokenSource = ""
    transport: Transport | AsyncTransport | None = None
    tls: ssl.SSLContext | None = None

    def session(self) -> Session:
        """Make a session that works on the store."""
        return Session(
            self.store.device_id, self.options, states=self.store.states, jitter=self.rng.random
        )

    def own(self, token: str) -> None:
        """See whose a token is, before anything is sent with it; raises `StoreOwnerError`."""
        user_id = user_of(token)
        if user_id is not None:
            self.store.bind(user_id)
        elif self.store.user_id is None:
            raise StoreOwnerError("the token does not say whose it is: name the `user_id`")
