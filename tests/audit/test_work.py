"""What an organisation's own auditor asks costs what is theirs, whatever there is elsewhere (SG-8).

Thousands of events, sessions and alerts of others are of one id: the hidden one. Each claim
compares the work PostgreSQL does for it, as ``explain`` counts it (rows met at every step, pages
read), with the work for an id that nobody ever used. A clock would say less: a machine is busy.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
import pytest

from services.audit import queries, read_models, reviews, sessions
from services.audit.grounds import Scope
from services.audit.models import AlertQuery, EventQuery, SessionQuery
from services.audit.selection import Selection, events_of, of_alerts, of_events, of_sessions
from tests.conftest import Connect

#: rows of others: two thirds of them of the hidden id
OTHERS: Final = 3_000
OWN: Final = 100
#: what two descents of a tree may differ by, at the edge of a page
PAGES: Final = 4

_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
OURS, HIDDEN, KNOWN = (UUID(int=n) for n in range(1, 4))
_EVENTS: Final = """
    insert into audit.organisation_event
        select case when n between $1 + 1 and $1 + $2 then $3::uuid
            else md5((n % 40)::text)::uuid end, n, now(),
            id, id::text, 'cases.read', 'read', 'allowed', 'item', id::text, id, 'case', id::text
        from generate_series(0, $4::int) n, lateral (select case when n <= $1 then $5::uuid
            when n <= $1 + $2 then $6::uuid else gen_random_uuid() end as id) drawn
"""
_OF_ALL: Final = """
    insert into audit.event
        (position, recorded_at, actor_id, client_id, type, action, outcome, object_type, object_id,
            record_type, record_id)
        select distinct on (position) position, recorded_at, actor_id, client_id, type, action,
            outcome, object_type, object_id, record_type, record_id from audit.organisation_event;
    insert into audit.event_student select actor_id, position from audit.event;
    insert into audit.organisation_student
        select organisation_id, actor_id, position from audit.organisation_event;
    insert into audit.login_session
        (id, position, person_id, organisation_id, started_at, expires_at)
        select gen_random_uuid(), position, actor_id, organisation_id, now(), now()
        from audit.organisation_event;
    insert into audit.alert
        (id, position, key, rule, status, told, person_id, own_person_id, organisation_id, state)
        select case position when 0 then actor_id else gen_random_uuid() end, position,
            position::text, 'many_resets', 'open', 1, actor_id, actor_id, organisation_id, 'x'
        from audit.organisation_event;
    insert into audit.person select actor_id, 'x' from audit.event group by 1;
    insert into audit.assignment
        select gen_random_uuid(), actor_id, 'prosecutions', organisation_id, now(), null, false
        from audit.organisation_event;
    insert into log.event
        select position, gen_random_uuid(), 'cases.read', 'x' from audit.organisation_event;
    insert into log.event_id
        select case position when 0 then actor_id else gen_random_uuid() end, position
        from audit.organisation_event;
"""


@dataclass(frozen=True)
class Work:
    """What a statement did: its plan with the rows of every step, and the pages read."""

    plan: str
    pages: int


@dataclass(frozen=True)
class Elsewhere:
    """A database in which others did a great deal with one id, explaining what it is asked."""

    owner: asyncpg.Connection

    async def work(self, statement: str, *parameters: object) -> Work:
        """Return the work of the second time: the first one reads the catalogue as well."""
        asked = f"explain (analyze, buffers, costs off, timing off, summary off) {statement}"
        await self.owner.fetch(asked, *parameters)
        lines = [row[0] for row in await self.owner.fetch(asked, *parameters)]
        pages = re.search(r"shared hit=(\d+)", lines[1])
        plan = [line for line in lines if "Buffers:" not in line and "Memory:" not in line]
        return Work(_ID.sub("an id", "\n".join(plan)), int(pages[1]) if pages else 0)

    async def listed(self, selection: Selection, rows_of: str, position: str) -> Work:
        """Return the work of a list."""
        statement = read_models.with_at(selection.newest(rows_of, position, 51), read_models.EVENTS)
        return await self.work(statement, *selection.parameters)


@pytest.fixture(params=["analyzed", "never analyzed"])
async def elsewhere(connect: Connect, request: pytest.FixtureRequest) -> Elsewhere:
    """Let others use one id much, among ids used once; ours is a small organisation."""
    owner = await connect(None)
    await owner.execute("set session_replication_role = replica")
    await owner.execute("set enable_seqscan = off")
    hidden = OTHERS * 2 // 3
    await owner.execute(_EVENTS, hidden, OWN, OURS, OTHERS + OWN, HIDDEN, KNOWN)
    await owner.execute(_OF_ALL)
    if request.param == "analyzed":
        await owner.execute("analyze")
    return Elsewhere(owner)


def _events(**filters: object) -> Callable[[str, Scope], tuple[Selection, str, str]]:
    def of(id_: str, scope: Scope) -> tuple[Selection, str, str]:
        named = {name: id_ if value is ... else value for name, value in filters.items()}
        selection = of_events(EventQuery.model_validate(named), scope)
        return selection, f"{queries._ROWS} from {events_of(selection)} e", "e.position"

    return of


def _sessions(id_: str, scope: Scope) -> tuple[Selection, str, str]:
    return of_sessions(SessionQuery(person=UUID(id_)), scope), sessions._OWN, "s.position"


def _alerts(**filters: Any) -> Callable[[str, Scope], tuple[Selection, str, str]]:  # noqa: ANN401 - of the model
    def of(id_: str, scope: Scope) -> tuple[Selection, str, str]:
        query = AlertQuery(person=UUID(id_), **filters)
        return of_alerts(query, scope), reviews._ROWS, "a.position"

    return of


def _of_kind(kind: str) -> Callable[[str, Scope], tuple[Selection, str, str]]:
    return lambda id_, scope: _events(object=f"{kind}:{id_}")("", scope)


LISTS: Final[Mapping[str, Callable[[str, Scope], tuple[Selection, str, str]]]] = {
    "events by object": _events(object=...),
    "events by record": _of_kind("case"),
    "events by object, of a kind": _of_kind("item"),
    "events by object, learner and outcome": _events(object=..., student=..., outcome="allowed"),
    "events by actor": _events(actor=...),
    "events by actor, type and action": _events(actor=..., type="cases.read", action="read"),
    "events by actor, within a time": _events(actor=..., **{"from": "2020-01-01T00:00:00Z"}),
    "events by learner, accesses": _events(student=...),
    "sessions by person": _sessions,
    "alerts by person": _alerts(),
    "alerts by person, rule and status": _alerts(rule="many_resets", status="open"),
}
OWN_ONLY: Final = Scope((), OURS, frozenset({OURS}), as_of=-1)
EVERYWHERE: Final = Scope((), OURS, None, as_of=-1)


async def test_lists_by_an_id_that_is_hidden_do_the_work_of_one_that_is_missing(
    elsewhere: Elsewhere,
) -> None:
    """Domain: not inferable from timing; what the plan is, what it meets, what it reads."""
    for name, listed in LISTS.items():
        hidden = await elsewhere.listed(*listed(str(HIDDEN), OWN_ONLY))
        missing = await elsewhere.listed(*listed(str(uuid4()), OWN_ONLY))
        assert hidden.plan == missing.plan, name
        assert abs(hidden.pages - missing.pages) <= PAGES, name
        assert "Rows Removed" not in hidden.plan, name
        own = await elsewhere.listed(*listed(str(KNOWN), OWN_ONLY))
        assert own.plan != hidden.plan, f"{name}: what is there is found"
        of_all = await elsewhere.listed(*listed(str(HIDDEN), EVERYWHERE))
        assert of_all.plan != hidden.plan, f"{name}: everywhere it is found"


async def test_own_events_without_an_id_are_found_among_own_events_alone(
    elsewhere: Elsewhere,
) -> None:
    """What others did by the same type, action or outcome is not met."""
    for filters in ({}, {"type": "cases.read"}, {"action": "read"}, {"outcome": "allowed"}):
        work = await elsewhere.listed(*_events(**filters)("", OWN_ONLY))
        assert "Rows Removed" not in work.plan
        assert "rows=51" in work.plan


async def test_one_thing_that_is_hidden_costs_what_one_costs_that_is_missing(
    elsewhere: Elsewhere,
) -> None:
    """An event, an alert, a person whose activity is asked for, an alert's evidence."""
    for statement, one in (
        (queries._KNOWN_OWN, HIDDEN),
        (read_models.with_at(queries._ONE_OWN, read_models.EVENTS), HIDDEN),
        (read_models.with_at(queries._MANY_OWN, read_models.EVENTS), [HIDDEN]),
        (read_models.with_at(reviews._ONE_OWN, read_models.ALERTS), HIDDEN),
    ):
        other: object = [uuid4()] if isinstance(one, list) else uuid4()
        hidden = await elsewhere.work(statement, one, [OURS])
        missing = await elsewhere.work(statement, other, [OURS])
        assert not re.search(r"on event_\d+ .*actual", hidden.plan), "a body of others' is read"
        assert abs(hidden.pages - missing.pages) <= PAGES, statement
