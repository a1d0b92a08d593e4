"""The one path of every request: load, decide, append, wait for the projection, answer.

``decide`` is called again, from fresh facts, whenever the log answers that a fact it rested on
has changed, expired or been overtaken: so every answer's event precedes, in the log, whatever
revoked it ("fresh or refused"). A refusal takes the same path as a disclosure and is appended
before it is told.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar
from uuid import UUID

from services.kernel import telemetry
from services.kernel.errors import Problem, Unavailable
from services.kernel.events import Service
from services.kernel.groups import Group
from services.kernel.log import Expired, Log, Stale, VersionConflict
from services.kernel.projector import Projector
from services.kernel.wholeness import signed_in

T = TypeVar("T")
_TRIES: Final = 20
#: how long an answer waits for the fold of what it did
_FOLDED_S: Final = 2.0
#: from when the decision began; a request that waits on is cut off (services.kernel.boundary)
_ANSWERED_S: Final = 4.0


@dataclass(frozen=True, slots=True)
class Draft(Generic[T]):
    """A decision on its way to the log: what to append, and what to answer once it is durable.

    ``made`` names the ids of what the group makes, for a repeat under the same Idempotency-Key.
    """

    group: Group
    reply: T | Problem
    made: Mapping[str, UUID] = field(default_factory=dict)


class Handling:
    """Runs decisions against the log of one service."""

    def __init__(self, log: Log, projector: Projector, service: Service) -> None:
        self._log = log
        self._projector = projector
        self._stale = telemetry.STALE_DECISIONS.labels(service)
        self._folding: set[asyncio.Task[None]] = set()

    async def run(self, decide: Callable[[], Awaitable[Draft[T]]]) -> T:
        """Return the reply of a decision that the log took; raise it when it is a problem.

        Facts appended are folded when this returns, so the caller sees their own write; but what
        is durable is answered also where the fold does not get there soon, as while rows are folded
        anew: it happened, and whoever is told 503 does it again. Raises :class:`Unavailable` when
        the log cannot be written, or changes faster than twenty decisions;
        :class:`services.kernel.log.Duplicate` goes through to whoever set a once-key.

        A session that is not known here (:class:`services.kernel.wholeness.NotSignedIn`) may have
        begun a moment ago elsewhere: it is decided once more with the log folded up to its head.
        """
        clock = asyncio.get_running_loop().time
        answered_by = clock() + _ANSWERED_S
        for _ in range(_TRIES):
            self._projector.check_whole()
            draft = await signed_in(self._projector, decide)
            try:
                position = await self._log.append(draft.group)
            except (Stale, VersionConflict) as moved:
                self._stale.inc()
                await self._projector.reached(moved.position)
                continue
            except Expired:
                self._stale.inc()
                continue
            if any(event.stream for event in draft.group.events):
                self._projector.nudge()
                await self._folded(position, max(0.0, min(_FOLDED_S, answered_by - clock())))
            if isinstance(draft.reply, Problem):
                raise draft.reply
            return draft.reply
        raise Unavailable

    async def _folded(self, position: int, within_s: float) -> None:
        """Return when the log up to ``position`` is folded, or ``within_s`` are over.

        Then the fold goes on by itself: what is cancelled is rolled back, and waited for.
        """
        folding = asyncio.create_task(self._projector.reached(position))
        self._folding.add(folding)
        folding.add_done_callback(self._done)
        await asyncio.wait({folding}, timeout=within_s)

    def _done(self, folding: asyncio.Task[None]) -> None:
        self._folding.discard(folding)
        if not folding.cancelled():
            folding.exception()  # nobody else looks: whoever asks next is told that it stands
