"""Projections: named read models, folded from the log, resumable, and rebuilt at will.

Owns what a projection is, and nothing that runs: :mod:`services.kernel.batches` folds the next
events into all those of one service, :mod:`services.kernel.projector` says when.
Place in the flow: ``append -> projection``, and back to the reader by position only.
"""

from collections.abc import Sequence
from typing import Protocol

import asyncpg

from services.kernel.events import Recorded

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy


class Projection(Protocol):
    """A read model: a name, the tables it owns, and its fold."""

    name: str
    #: tables it owns, which a rebuild empties (``schema.table``)
    tables: Sequence[str]

    def wants(self, type_: str, kind: str) -> bool:
        """Say whether it folds events of ``type_`` in streams of ``kind``, ``-`` for no stream.

        A kind is what the name of a stream begins with, up to the colon. What it does not want it
        is not given. The answer is always the same.
        """

    async def fold(self, connection: Connection, batch: Sequence[Recorded]) -> None:
        """Apply ``batch``, in order, through ``connection``. The same batch gives the same rows."""
