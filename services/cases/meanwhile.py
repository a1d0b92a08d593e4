"""Work done while something is on its way: an answer is rendered while its event becomes durable.

It costs the one processor either way; done meanwhile, it costs a lone caller no time.
"""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

from services.kernel.errors import Problem
from services.kernel.handling import Draft

T = TypeVar("T")
#: turns of the loop by which a group that was handed to the log has left for the database
_TURNS: Final = 6


def meanwhile(work: Callable[[], T]) -> asyncio.Future[T]:
    """Return what ``work`` will return; it is done once what its caller does next has been sent.

    How many turns that takes decides only how much time is won, never what is done. What it raises
    when nobody awaits it is let go.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    done.add_done_callback(_let_go)

    def turn(left: int) -> None:
        if done.cancelled():
            return
        if left:
            loop.call_soon(turn, left - 1)
            return
        try:
            done.set_result(work())
        except Exception as error:  # noqa: BLE001 - whoever awaits it is told, whatever it is
            done.set_exception(error)

    loop.call_soon(turn, _TURNS)
    return done


async def finished(draft: Draft[asyncio.Future[T]]) -> Draft[T]:
    """Return ``draft`` with its answer ready."""
    if isinstance(draft.reply, Problem):
        return Draft(draft.group, draft.reply)
    return Draft(draft.group, await draft.reply)


def _let_go(done: asyncio.Future[T]) -> None:
    if not done.cancelled():
        done.exception()
