"""While read models are folded anew, no answer is less than what there is (SG-9, SG-12)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl
from uuid import UUID

import httpx
import pytest

from services.audit import asking
from services.audit.pages import Walk
from services.audit.queries import EventQueries
from services.audit.reviews import Reviews
from tests.audit.given import AT_NIGHT, Caller, World
from tests.audit.test_alerts import settled
from tests.audit.test_service_clients import register, token
from tests.emptied import emptied_before

#: who reads, as what, for which path, and the projections emptied before it
Reading = tuple[object, str, str, Sequence[str]]
#: everything that questions are asked of
ALL: Final = ("audit.directory", "audit.events", "audit.sessions", "audit.alerts")
EVENTS, DIRECTORY, SESSIONS, ALERTS = (
    ("audit.events",), ("audit.directory",), ("audit.sessions",), ("audit.alerts",)
)  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """What an auditor may ask about: somebody with an alert who saw a learner."""

    auditor: Caller
    person: UUID
    student: UUID
    event: UUID
    alert: str

    async def ask(self, path: str) -> httpx.Response:
        """Ask, or judge where that is what the path is for."""
        path = path.format(**{name: getattr(self, name) for name in self.__dataclass_fields__})
        if path.endswith("/resolve"):
            return await self.auditor.tell(path, {"verdict": "benign"})
        path, _, filters = path.partition("?")
        return await self.auditor.ask(path, **dict(parse_qsl(filters)))


async def _seen(world: World, auditor: Caller) -> Seen:
    office = await world.staff("school_office", auditor.person.organisation_id)
    session = await world.begin(office, at=AT_NIGHT)
    student = world.id()
    event = await world.saw(office, student, session_id=session)
    await settled(world)
    (alert, *_) = await auditor.items("/v1/alerts")
    return Seen(auditor, office.id, student, event, alert["id"])


async def _landed(world: World) -> int:
    return int(await world.audit.runtime.pool.fetchval("select count(*) from log.event"))


#: what is read after the log was followed
READ: Final[Sequence[Reading]] = (
    (asking, "principal_of", "/v1/events?actor={person}", DIRECTORY),
    (asking, "principal_of", "/v1/alerts/{alert}/resolve", DIRECTORY),
    (Walk, "page", "/v1/events?actor={person}", EVENTS),
    (Walk, "page", "/v1/events?actor={person}", ALL),
    (Walk, "page", "/v1/students/{student}/accesses", EVENTS),
    (Walk, "page", "/v1/people/{person}/activity", EVENTS),
    (EventQueries, "_known", "/v1/people/{person}/activity", DIRECTORY),
    (Walk, "page", "/v1/sessions?person={person}", SESSIONS),
    (Walk, "page", "/v1/sessions?person={person}", EVENTS),
    (Walk, "page", "/v1/alerts?person={person}", ALERTS),
    (Reviews, "load", "/v1/alerts/{alert}", ALERTS),
    (Reviews, "load", "/v1/alerts/{alert}/resolve", ALERTS),
)
#: those that the log itself answers where one sees everywhere
OWN_READ: Final[Sequence[Reading]] = (
    (EventQueries, "_one", "/v1/events/{event}", EVENTS),
    (EventQueries, "by_ids", "/v1/alerts/{alert}", EVENTS),
)


@pytest.mark.parametrize(("kind", "read"), [("ministry", READ), ("school", (*READ, *OWN_READ))])
async def test_nothing_rests_on_rows_that_were_emptied_since_the_log_was_followed(
    world: World, kind: str, read: Sequence[Reading]
) -> None:
    """SG-12: neither an answer nor an event says that there is less than there is."""
    seen = await _seen(world, await world.analyst(kind))
    projector = world.audit.runtime.projector
    await world.audit.raising.stop()
    for place_of, name, path, emptied in read:
        before = await _landed(world)
        async with emptied_before(place_of, name, projector, *emptied):
            answer, landed = await seen.ask(path), await _landed(world) - before
        await projector.caught_up()
        assert (answer.status_code, landed) == (503, 0), (name, path, emptied)
        assert "items" not in answer.json()
    for path in sorted({path for _, _, path, _ in read}, key=lambda path: "resolve" in path):
        folded = await seen.ask(path)
        assert folded.is_success, (path, folded.text)
        assert folded.json().get("items", ["one"]), path


@pytest.mark.parametrize("who", ["person", "client"])
async def test_whoever_is_let_in_is_not_told_otherwise_over_emptied_rows(
    world: World, who: str
) -> None:
    """SG-9: a service client neither, and not before a form is judged."""
    await register(world, "audit.read")
    caller = await world.analyst() if who == "person" else token(world, "audit.read")
    projector = world.audit.runtime.projector
    for limit, folded in ((1, 200), ("none", 422)):
        before = await _landed(world)
        async with emptied_before(asking, "principal_of", projector, *DIRECTORY):
            answer = await caller.ask("/v1/events", limit=limit)
        assert (answer.status_code, await _landed(world) - before) == (503, 0)
        assert (await caller.ask("/v1/events", limit=limit)).status_code == folded
