"""Looks that may find nothing: believed where the rows hold every fact there was when one looked.

A rebuild empties the rows of a read model and folds the log again: meanwhile they say that what is
there is not, or show it as it once was. Place in the flow: before anybody is told that what they
brought is wrong, or that something is not there, and nothing is appended that would rest on it. A
look reads the rows, the position they stand at and the newest fact of the log at one moment. It
folds when it must, through the projector, and decides nothing.

A decision that looks again rests on where the rows stood when it looked first: its later looks
find them there or further (:func:`not_behind`).
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, Generic, NamedTuple, TypeVar

from services.kernel.errors import Unavailable
from services.kernel.projector import Projector

T = TypeVar("T")
#: the newest fact of the log, for the select list of a look; one step in an index
NEWEST: Final = "(select coalesce(max(position), -1) from log.fact) as newest"


class Look(NamedTuple, Generic[T]):
    """What rows say, the position they stand at, and the newest fact of the log by then."""

    found: T
    at: int
    newest: int


def not_behind(at: int, known: int) -> None:
    """Raise :class:`Unavailable` where rows stand at ``at``, behind ``known`` of an earlier look.

    They were emptied between the two. ``at`` is read in the statement that reads the rows.
    """
    if at < known:
        raise Unavailable


async def whole(projector: Projector, look: Callable[[], Awaitable[Look[T]]]) -> T:
    """Return what was found in rows that hold every fact the log had when first looked at.

    Where they do not, whatever was found, they are folded and looked at once more; of many who wait
    one folds. Raises :class:`Unavailable` while they are folded anew.
    """
    looked = await look()
    newest = looked.newest
    # rows that were emptied elsewhere are behind what is known to have been folded
    for folded in (partial(projector.reached, newest), projector.caught_up):
        if looked.at >= newest:
            break
        await folded()
        projector.check_whole()
        looked = await look()
    if looked.at < newest:
        raise Unavailable
    return looked.found
