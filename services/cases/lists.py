"""Lists of requests and cases: what was shown is named in one event, part by part.

A list is filtered in SQL by the same relations that decide one record, page by page along an
index, and each row is then decided like a single read. What a caller may not see is neither
counted nor skipped visibly.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

import msgspec
from pydantic import BaseModel, Field

from services.authz.directory import decode_organisation
from services.authz.engine import ANY_ROLE, Policy
from services.cases import events as e
from services.cases.desk import Asked, Desk
from services.cases.loaded import Asking, Loaded
from services.cases.outline import apart
from services.cases.record import Status
from services.cases.relations import EXISTS, conditions
from services.cases.rendering import canonical
from services.cases.sight import Sight
from services.cases.statements import AT
from services.cases.telling import Telling
from services.cases.terms import RecordKind
from services.cases.views import decode_head, decode_student
from services.kernel.cursors import LONGEST, Cursors
from services.kernel.events import ObjectRef
from services.kernel.handling import Draft
from services.kernel.sealing import Compartment, KeyRef
from services.kernel.wholeness import not_behind

MAX_LIMIT: Final = 100
#: the parts of a record that a list shows, where the caller sees them
LISTED: Final = ("overview", "student_basic")


class Wanted(BaseModel):
    """Which records to list, and how far; an unknown field of a query is ignored."""

    status: Status | None = None
    student_id: UUID | None = None
    limit: int = Field(default=50, ge=1, le=MAX_LIMIT)
    cursor: str | None = Field(default=None, max_length=LONGEST)


class Place(msgspec.Struct, frozen=True):
    """Where the next page begins."""

    created_at: datetime
    id: UUID


@lru_cache(maxsize=8)
def _query(policy: Policy, kind: str) -> str:
    """Return the paged list: one indexed branch for each row of the policy that shows something.

    $1 to $3: ids, roles and organisations of the caller's assignments; $4, $5: where to begin;
    $6: how many; $7: a status or null; $8: a learner or null.
    """
    branches = {
        "(select r.id, r.created_at from cases.record r"
        " join cases.student s on s.id = r.student_id"
        f" where a.role = '{role}' and r.kind = '{kind}' and {condition}"
        f" and {EXISTS.sql} and (r.created_at, r.id) < ($4, $5)"
        " and ($7::text is null or r.status = $7)"
        " and ($8::uuid is null or r.student_id = $8)"
        " order by r.created_at desc, r.id desc limit $6)"
        for role in sorted({row.role for row in policy.rows} - {ANY_ROLE})
        for condition in conditions(policy, role, kind)
    }
    unique = " union all ".join(sorted(branches))
    return f"""
        select {AT}, r.id, r.state, st.state as student_state,
            (select array_agg(o.state) from cases.organisation o
                where o.id = any(r.organisations)) as organisations
        from (select 1) one left join ((
            select distinct c.id, c.created_at
            from unnest($1::uuid[], $2::text[], $3::uuid[]) a(id, role, organisation_id)
            cross join lateral ({unique}) c
            order by c.created_at desc, c.id desc limit $6
        ) page
        join cases.record r on r.id = page.id
        join cases.student st on st.id = r.student_id) on true
        order by r.created_at desc, r.id desc
    """


_LAST_ID: Final = UUID(int=(1 << 128) - 1)


class Lists:
    """Lists of the cases service."""

    def __init__(self, desk: Desk, cursors: Cursors) -> None:
        self._desk = desk
        self._cursors = cursors

    async def records(self, asked: Asked, kind: RecordKind, wanted: Wanted) -> Draft[bytes]:
        """Draft a page of the records of ``kind`` that the caller sees, newest first."""
        desk = self._desk
        asking = await desk.loader.asking(asked.claims, desk.now())
        caller = asking.caller
        filter_text = f"{kind}|{wanted.status}|{wanted.student_id}"
        place = None
        if wanted.cursor is not None:
            place = self._cursors.open(caller.person.id, filter_text, wanted.cursor, Place)
        rows = await self._page(asking, kind, wanted, place)
        loaded = [_loaded(asking, row) for row in rows[: wanted.limit]]
        seen = [(one, sight) for one in loaded if (sight := desk.see(one))]
        items, telling = await self._render(seen)
        following = None
        if len(rows) > wanted.limit:
            last = decode_head(rows[wanted.limit - 1]["state"])
            following = self._cursors.seal(
                caller.person.id, filter_text, Place(last.created_at, last.id)
            )
        events = [
            await desk.event(
                asked,
                asking,
                e.READ,
                grounds=told.grounds,
                object_=ObjectRef(f"{kind}_list", str(kind)),
                student_id=wanted.student_id,
                shown=told.shown,
                data={"students": sorted(map(str, told.students))},
            )
            for told in telling.told()
        ]
        guards = dict.fromkeys(guard for one, _ in seen for guard in one.guards)
        group = desk.group(asking, events, [*dict.fromkeys((*caller.guards, *guards))])
        return Draft(group, canonical({"items": items, "next_cursor": following}))

    async def _page(
        self,
        asking: Asking,
        kind: RecordKind,
        wanted: Wanted,
        place: Place | None,
    ) -> Sequence[Any]:
        held = asking.caller.assignments
        infinity = datetime.max.replace(tzinfo=asking.caller.valid_until.tzinfo)
        rows: Sequence[Any] = await self._desk.runtime.pool.fetch(
            _query(self._desk.judge.policy, kind),
            [a.id for a in held],
            [a.role.value for a in held],
            [a.organisation_id for a in held],
            place.created_at if place else infinity,
            place.id if place else _LAST_ID,
            wanted.limit + 1,
            wanted.status,
            wanted.student_id,
        )
        not_behind(rows[0]["at"], asking.at)
        return [row for row in rows if row["id"] is not None]

    async def _render(
        self, seen: Sequence[tuple[Loaded, Sight]]
    ) -> tuple[list[dict[str, Any]], Telling]:
        await self._desk.runtime.keys.load(
            KeyRef(sight.record.student_id, compartment)
            for _, sight in seen
            for compartment in (Compartment.STUDENT, Compartment.RECORD)
        )
        items: list[dict[str, Any]] = []
        telling = Telling()
        for one, sight in seen:
            listed = await self._desk.outline(one, sight.limited_to(LISTED))
            record = sight.record
            items.append(
                {
                    "id": record.id,
                    "number": record.number,
                    "status": record.status,
                    "student_id": record.student_id,
                    "parts": self._desk.renderer.parts(listed),
                }
            )
            for told in apart(self._desk.judge, listed, lambda seen: seen):
                telling.add(told.basis, told.shown, record.student_id)
        return items, telling


def _loaded(asking: Asking, row: Any) -> Loaded:  # noqa: ANN401 - a database row
    record = decode_head(row["state"])
    organisations = [decode_organisation(state) for state in row["organisations"] or ()]
    return Loaded(
        asking=asking,
        exists=True,
        record_id=record.id,
        student_id=record.student_id,
        record=record,
        student=decode_student(row["student_state"]),
        organisations={o.id: o for o in organisations},
    )
