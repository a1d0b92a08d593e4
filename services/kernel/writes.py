"""What folds write, a statement for many events at a time instead of one for each.

A fold says what it writes as :class:`Write` s, in the order of its events, and :func:`write` runs
them. Two that share a key run in that order; two that share none commute, so all of one statement
go to the server together. The rows that come of it are those of running each by itself.
"""

from collections.abc import Hashable, Iterable
from typing import Final, NamedTuple

from services.kernel.projection import Connection

_NEVER: Final = (-1, "")


class Write(NamedTuple):
    """One statement with its arguments, and the ``keys`` of everything it reads or writes.

    A key stands for the rows of one thing, in every table: a person, a session, a message.
    """

    sql: str
    arguments: tuple[object, ...]
    keys: tuple[Hashable, ...]


async def write(connection: Connection, writes: Iterable[Write]) -> None:
    """Run ``writes``, as far as keys are shared in their order."""
    for turn in turns(writes):
        for sql, rows in turn.items():
            if len(rows) == 1:
                await connection.execute(sql, *rows[0])
            else:
                await connection.executemany(sql, rows)


def turns(writes: Iterable[Write]) -> list[dict[str, list[tuple[object, ...]]]]:
    """Return ``writes`` as turns of statements with rows, each in the earliest turn it can be.

    A statement's rows run in order, so one may share its turn with an earlier row of its own.
    """
    found: list[dict[str, list[tuple[object, ...]]]] = []
    last: dict[Hashable, tuple[int, str]] = {}
    for sql, arguments, keys in writes:
        before = (last.get(key, _NEVER) for key in keys)
        turn = max((at if told == sql else at + 1 for at, told in before), default=0)
        for key in keys:
            last[key] = turn, sql
        if turn == len(found):
            found.append({})
        found[turn].setdefault(sql, []).append(arguments)
    return found
