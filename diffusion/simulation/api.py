"""An API process, the real service, and the network between it and devices: it loses, delays and
repeats.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from diffusion.simulation.fate import Fate
from diffusion.simulation.processes import Process
from diffusion.simulation.store import Store
from infra.cassandra.session import StoreUnavailable
from infra.settings import Settings
from schemas.errors import RefusedTokenError
from schemas.protocol import SyncRequest, SyncResponse
from sdk.client.errors import NetworkError, Problem, RequestRefusedError, ServerBusyError
from syncapi.service import SyncService

KEY: Final = b"the key of cursors, which all instances share"
LOST_SHARE: Final = 0.04
TWICE_SHARE: Final = 0.05
PATIENCE_S: Final = 40.0
"""A device waits so long for an answer."""


class Api(Process):
    """`start` begins a life. `skew_ms`: its clock against ours."""

    def __init__(self, name: str, fate: Fate, clock: Callable[[], int], store: Store) -> None:
        super().__init__(name, fate)
        self.skew_ms = 0
        self.service: SyncService | None = None
        self._clock = clock
        self._store = store

    def start(self, settings: Settings) -> None:
        """Begin a life."""
        self.alive = True
        store: Any = self._store
        steady_s = asyncio.get_running_loop().time
        self.service = SyncService(
            settings, store, KEY, lambda: self._clock() + self.skew_ms, steady_s
        )

    async def sync(self, user_id: str, request: SyncRequest) -> SyncResponse:
        """Answer, unless the process dies meanwhile."""
        if not self.alive or self.service is None:
            raise NetworkError("nobody listens")
        answering: asyncio.Task[SyncResponse] = self.run(self.service.sync(user_id, request))
        await asyncio.wait([answering])
        if answering.cancelled():
            raise NetworkError("the connection broke")
        try:
            return answering.result()
        except RefusedTokenError as error:
            problem = Problem(title="refused", status=400, reason=error.reason)
            raise RequestRefusedError(400, problem) from error
        except StoreUnavailable as error:
            raise ServerBusyError("503", 1.0) from error


class Told(Protocol):
    """Whoever hears what was told to whom."""

    def __call__(self, user_id: str, request: SyncRequest, answer: SyncResponse) -> None:
        """An answer as it leaves the API."""


class Network:
    """Between devices and API processes."""

    def __init__(self, apis: Sequence[Api], fate: Fate, told: Told) -> None:
        self._apis = apis
        self._fate = fate
        self._told = told

    async def ask(self, user_id: str, request: SyncRequest) -> SyncResponse:
        """Send a request to some process, and bring its answer; raises `ClientError`."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self._ask(user_id, request)
        except TimeoutError as error:
            raise NetworkError("no answer came in time") from error

    async def _ask(self, user_id: str, request: SyncRequest) -> SyncResponse:
        fate = self._fate
        await fate.trip()
        if fate.happens(LOST_SHARE):
            raise NetworkError("the request was lost")
        api = fate.rng.choice(self._apis)
        if fate.happens(TWICE_SHARE):
            await api.sync(user_id, request)  # a proxy sent it again; nobody hears the first answer
        answer = await api.sync(user_id, request)
        self._told(user_id, request, answer)
        await fate.trip()
        if fate.happens(LOST_SHARE):
            raise NetworkError("the answer was lost")
        return answer
