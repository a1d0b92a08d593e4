"""Reads that may find nothing: believed where the rows hold every fact there was at the time.

A rebuild empties the rows of a read model and folds the log again: meanwhile they say that what is
there is not, or show it as it once was. Place in the flow: before anybody is told that what they
brought is wrong, that nobody is signed in, or that something is not there, and nothing is appended
that would rest on it. A read takes the rows, the position they stand at and the newest fact of the
log at one moment. It folds when it must, through the projector, and decides nothing.

A decision that reads again rests on where the rows stood when it read first: its later reads find
them there or further (:func:`not_behind`).
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, Generic, NamedTuple, TypeVar

from services.kernel.errors import Unauthenticated, Unavailable
from services.kernel.projector import Projector

T = TypeVar("T")
#: the newest fact of the log, for the select list of a read; one step in an index
NEWEST: Final = "(select coalesce(max(position), -1) from log.fact) as newest"


class AsOf(NamedTuple, Generic[T]):
    """What rows say, the position they stand at, and the newest fact of the log by then."""

    found: T
    at: int
    newest: int


class NotSignedIn(Unauthenticated):
    """No session or client is found in rows that stand at ``at``, read in the same statement."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at


def not_behind(at: int, known: int) -> None:
    """Raise :class:`Unavailable` where rows stand at ``at``, behind ``known`` of an earlier read.

    They were emptied between the two. ``at`` is read in the statement that reads the rows.
    """
    if at < known:
        raise Unavailable


async def whole(projector: Projector, read: Callable[[], Awaitable[AsOf[T]]]) -> T:
    """Return what was found in rows that hold every fact the log had when first read.

    Where they do not, whatever was found, they are folded and read once more; of many who wait one
    folds. Raises :class:`Unavailable` while they are folded anew.
    """
    seen = await read()
    newest = seen.newest
    # rows that were emptied elsewhere are behind what is known to have been folded
    for folded in (partial(projector.reached, newest), projector.caught_up):
        if seen.at >= newest:
            break
        await folded()
        projector.check_whole()
        seen = await read()
    if seen.at < newest:
        raise Unavailable
    return seen.found


async def signed_in(projector: Projector, read: Callable[[], Awaitable[T]]) -> T:
    """Return what ``read`` does for a session or a client that is known.

    One that is not (:class:`NotSignedIn`) may have begun a moment ago elsewhere: before that is
    told the log is folded up to its head, and ``read`` done once more. Raises :class:`Unavailable`
    while rows are folded anew, and where they were emptied again in between.
    """
    try:
        return await read()
    except NotSignedIn:
        await projector.caught_up()
    known = projector.folded
    projector.check_whole()
    try:
        return await read()
    except NotSignedIn as unknown:
        not_behind(unknown.at, known)
        raise
