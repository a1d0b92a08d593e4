"""What learners are found by: tokens of their names, kept up to date beside the projection.

The fold opens nothing; it marks a learner as still to be made findable. This opens the sealed
name, a page of learners at a time, and keeps its tokens under a secret of the current epoch (see
:mod:`services.cases.search`). When the epoch turns every learner's are made anew, and when the old
epoch's key is destroyed nobody can tell any more what a former token meant, copies included. A
learner whose key is destroyed has no tokens.

A search does not wait for any of this: whoever is not findable yet is opened and compared.
"""

from typing import Final, NamedTuple
from uuid import UUID

import asyncpg

from services.cases.boxes import Boxes
from services.cases.loaded import Asking
from services.cases.record import Student
from services.cases.search import name_tokens, names_of, query_tokens
from services.cases.statements import AT
from services.cases.views import decode_student
from services.kernel.keystore import KeyStore
from services.kernel.sealing import Compartment, KeyRef
from services.kernel.wholeness import not_behind

#: learners opened between two turns of the event loop: some ten milliseconds of work
_PAGE: Final = 100
#: beginnings of names whose tokens are remembered from page to page
_ALIKE: Final = 20_000
_SWEEP: Final = 5_000
_PURPOSE: Final = "casewarden tokens of learners' names"

_PENDING: Final = "select id from cases.student where name_epoch < $1 limit $2"
_LOCKED: Final = """
select state from cases.student where id = any($1) and name_epoch < $2 for update skip locked
"""
_MADE: Final = "update cases.student set name_epoch = $2, name_tokens = $3 where id = $1"
_FOUND_BY_NAME: Final = """
select id from cases.student where id > $1 and name_tokens <> '{}' order by id limit $2
"""
#: in the order of ids, which it asks no index of: that one holds learners elsewhere too
_CANDIDATES: Final = f"""
select {AT}, found.state from (select 1) one left join (
    select id, state from cases.student
    where school_id = any($1) and (name_epoch <> $2 or name_tokens @> $3::int[])
        and uuid_send(id) > uuid_send($4)
    order by uuid_send(id) limit $5
) found on true order by uuid_send(found.id)
"""


class _Secret(NamedTuple):
    """The secret of one epoch."""

    epoch: int
    key: bytes


#: of each epoch, the tokens of beginnings of names
_Tokens = dict[int, dict[str, int]]


class NameIndex:
    """Makes, renews and removes the tokens that learners are found by."""

    def __init__(self, pool: asyncpg.Pool, keys: KeyStore) -> None:
        self._pool = pool
        self._keys = keys
        self._known: _Secret | None = None

    def _secret(self) -> _Secret:
        """Return the current epoch's; a former one is not kept in memory either."""
        epoch = self._keys.current_epoch()
        if self._known is None or self._known.epoch != epoch:
            self._known = _Secret(*self._keys.epoch_secret(Compartment.SEARCH, _PURPOSE))
        return self._known

    async def candidates(
        self, asking: Asking, schools: list[UUID], query: str, after: UUID, limit: int
    ) -> list[Student]:
        """Return learners of ``schools`` who may be called what ``query`` says, keys in reach.

        The first ``limit`` by id of those behind ``after``.

        Among them everybody whose tokens are not of this epoch (yet, or already: another process's
        clock may be ahead), so that nobody is missed. Looks at learners of ``schools`` only: how
        long it takes says nothing about others. Raises :class:`Unavailable` for rows that were
        emptied since ``asking`` was found.
        """
        secret = self._secret()
        tokens = query_tokens(secret.key, query)
        if not tokens:
            return []
        rows = await self._pool.fetch(_CANDIDATES, schools, secret.epoch, tokens, after, limit)
        not_behind(rows[0]["at"], asking.at)
        students = [decode_student(row["state"]) for row in rows if row["state"] is not None]
        await self._keys.load(KeyRef(s.id, Compartment.STUDENT) for s in students)
        return students

    async def catch_up(self) -> int:
        """Make the tokens of every learner who has none of this epoch; return of how many."""
        made = 0
        tokens: _Tokens = {}
        while page := await self._make_page(tokens):
            made += page
        return made

    async def _make_page(self, tokens: _Tokens) -> int:
        """Make those of one page; processes share the learners out by their rows' locks.

        Keys are brought into reach first: no fold waits at a locked row for the key store.
        ``tokens`` are those of pages before, for many learners' names begin alike.
        """
        secret = self._secret()
        alike = tokens.setdefault(secret.epoch, {})
        if len(alike) > _ALIKE:
            alike.clear()
        rows = await self._pool.fetch(_PENDING, secret.epoch, _PAGE)
        if not rows:
            return 0
        ids = [row["id"] for row in rows]
        await self._keys.load(KeyRef(student_id, Compartment.STUDENT) for student_id in ids)
        async with self._pool.acquire() as connection, connection.transaction():
            # what a crash forgets is made again
            await connection.execute("set local synchronous_commit = off")
            rows = await connection.fetch(_LOCKED, ids, secret.epoch)
            students = [decode_student(row["state"]) for row in rows]
            made = [(s.id, secret.epoch, self._tokens(secret, s, alike)) for s in students]
            await connection.executemany(_MADE, made)
        return len(made)

    def _tokens(self, secret: _Secret, student: Student, alike: dict[str, int]) -> list[int]:
        basic = Boxes(self._keys, student.id).json(student.basic)
        return [] if basic is None else name_tokens(secret.key, names_of(basic), alike)

    async def forget_destroyed(self) -> int:
        """Remove the tokens of learners whose key is destroyed; return how many they were.

        Looks at every learner who can be found: for a task that runs now and then.
        """
        last, forgotten = UUID(int=0), 0
        while rows := await self._pool.fetch(_FOUND_BY_NAME, last, _SWEEP):
            last = rows[-1]["id"]
            refs = (KeyRef(row["id"], Compartment.STUDENT) for row in rows)
            gone = [ref.subject for ref in await self._keys.destroyed(refs)]
            await self._pool.execute(
                "update cases.student set name_tokens = '{}' where id = any($1)", gone
            )
            forgotten += len(gone)
        return forgotten
