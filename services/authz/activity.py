"""Who did what: the projection ``authz.activity``, over the whole log.

It holds where the events of each actor are and nothing else; the events themselves are the log's.
It reads observations, which outnumber facts by far, so it has a :class:`Projector` of its own: the
facts that decisions rest on never wait for it, and no decision is read at its position
(:data:`services.authz.login_views.AT` leaves it out).
"""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

import asyncpg

from services.kernel.errors import Unavailable
from services.kernel.event_types import Registry
from services.kernel.events import Event, Recorded, decode
from services.kernel.intake import decode_envelope
from services.kernel.projection import Connection
from services.kernel.projector import Projector

NAME: Final = "authz.activity"
_INSERT: Final = (
    "insert into authz.activity (person_id, position)"
    " select * from unnest($1::uuid[], $2::bigint[])"
)
_NEWEST: Final = (
    "with own as materialized (select position from authz.activity where person_id = $1"
    " and ($2::bigint is null or position < $2) order by position desc limit $3)"
    " select p.position as at, e.position, e.body"
    " from authz.projection p left join (own join log.event e using (position)) on true"
    f" where p.name = '{NAME}' order by e.position desc"
)


class Envelopes(Registry):
    """The registry of who reads nothing but envelopes, whichever service wrote the event.

    An envelope is the same for every type and every schema of its data, so a type that authz was
    never told of is folded like any other: what somebody did is theirs to see all the same.
    """

    def __init__(self) -> None:
        super().__init__(())

    def concerns(self, name: str) -> bool:  # noqa: ARG002 - the answer is the same for every name
        """Say yes: every event has an actor, or has none."""
        return True

    def upcast(self, event: Event) -> Event:
        """Return ``event`` as it is: only its data has a schema."""
        return event


class Activity:
    """The projection ``authz.activity``."""

    name = NAME
    tables: Sequence[str] = ("authz.activity",)

    def wants(self, type_: str, kind: str) -> bool:  # noqa: ARG002 - the answer is the same for every event
        """Say yes: every event has an actor, or has none."""
        return True

    async def fold(self, connection: Connection, batch: Sequence[Recorded]) -> None:
        """Add a row for each event that a person is the actor of, in one statement."""
        acted = [(r.event.actor.person_id, r.position) for r in batch if r.event.actor.person_id]
        if acted:
            people, positions = zip(*acted, strict=True)
            await connection.execute(_INSERT, people, positions)


def follower(pool: asyncpg.Pool) -> Projector:
    """Return the projector that keeps ``authz.activity`` up to date; whoever has it starts it."""
    return Projector(
        pool, "authz", Envelopes(), [Activity()], observations=True, decode_=decode_envelope
    )


async def newest(
    pool: asyncpg.Pool, person_id: UUID, before: int | None, limit: int, folded: int
) -> list[Recorded]:
    """Return up to ``limit`` events of a person before a position, the newest first.

    Raises :class:`Unavailable` where the log is not folded up to ``folded`` any more: rows that
    were emptied, to be folded anew, hold only some of them.
    """
    rows = await pool.fetch(_NEWEST, person_id, before, limit)
    if not rows or rows[0]["at"] < folded:
        raise Unavailable
    return [decode(r["position"], r["body"]) for r in rows if r["position"] is not None]
