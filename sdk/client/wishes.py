"""What an app wants of a client, and how it ended: the side of a session that callers see. Pure."""

from __future__ import annotations

from collections import OrderedDict

from sdk.client import limits
from sdk.client.errors import ClientError
from sdk.client.events import Trigger
from sdk.client.report import SyncReport
from sdk.client.schedule import Want


class Wishes:
    """What was asked for and is not begun, and the rounds that ended.

    What is asked while a round is under way is for the next one, joined: what the answer under way
    tells may be older than the call.
    """

    def __init__(self) -> None:
        self._want: Want | None = None
        self._told = False
        self._closed = False
        self._following = False
        self._background = False
        self._failure: ClientError | None = None
        self._round = 0
        self._outcomes: OrderedDict[int, SyncReport | ClientError] = OrderedDict()

    @property
    def following(self) -> bool:
        """Whether it goes on by itself."""
        return self._following

    @property
    def has_news(self) -> bool:
        """Whether something was told that the last step did not know of."""
        return self._told

    @property
    def failure(self) -> ClientError | None:
        """Why it follows no longer, if it ended by itself."""
        return self._failure

    def want(self, trigger: Trigger, *, full: bool = False, verify: bool = False) -> int:
        """Ask for a sync; the number of the round that will have done it."""
        self._told = True
        self._want = self._want or Want()
        self._want.triggers.add(trigger)
        self._want.full |= full
        self._want.verify |= verify
        return self._round + 1

    def outcome(self, number: int) -> SyncReport | ClientError | None:
        """How a round ended, or the one after it; None: it has not, and may yet."""
        found = next((self._outcomes[one] for one in self._outcomes if one >= number), None)
        return ClientError("the client is closed") if found is None and self._closed else found

    def follow(self) -> None:
        """Go on by itself from now on: sync, then whenever there is news."""
        self._following = True
        self._failure = None
        self._background = False
        self.want(Trigger.LOGIN)

    def unfollow(self) -> None:
        """Go on no longer; a round under way is finished."""
        self._told = True
        self._following = False

    def poked(self) -> None:
        """Something changed for this user."""
        if self._following:
            self.want(Trigger.POKE)

    def background(self) -> None:
        """The app is not seen: what is under way is finished, then the connection is closed."""
        self._told = True
        self._background = True

    def foreground(self) -> None:
        """The app is seen again."""
        self._background = False
        if self._following:
            self.want(Trigger.FOREGROUND)

    def _is_asleep(self) -> bool:
        """Whether only what goes on by itself wants something, and it must not."""
        asked = self._want is not None and Trigger.ASKED in self._want.triggers
        return not asked and (self._background or not self._following)

    def _want_again(self) -> None:
        """Whoever follows tries again."""
        if self._following:
            self.want(Trigger.RETRY)

    def _keep(self, outcome: SyncReport | ClientError) -> None:
        self._outcomes[self._round] = outcome
        while len(self._outcomes) > limits.OUTCOMES_KEPT:
            self._outcomes.popitem(last=False)
