"""While read models are folded anew, no answer is less than what there is (SG-9, SG-12)."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
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

#: by what a look is taken, its name, the path asked, and the projections emptied before it
Look = tuple[Any, str, str, Sequence[str]]
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


#: looks that are taken after the log was followed
LOOKS: Final[Sequence[Look]] = (
    (asking, "standing_of", "/v1/events?actor={person}", DIRECTORY),
    (asking, "standing_of", "/v1/alerts/{alert}/resolve", DIRECTORY),
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
OWN_LOOKS: Final[Sequence[Look]] = (
    (EventQueries, "_one", "/v1/events/{event}", EVENTS),
    (EventQueries, "by_ids", "/v1/alerts/{alert}", EVENTS),
)


@pytest.mark.parametrize(("kind", "looks"), [("ministry", LOOKS), ("school", (*LOOKS, *OWN_LOOKS))])
async def test_nothing_rests_on_rows_that_were_emptied_since_the_log_was_followed(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    looks: Sequence[Look],
) -> None:
    """SG-12: neither an answer nor an event says that there is less than there is."""
    seen = await _seen(world, await world.analyst(kind))
    projector = world.audit.runtime.projector
    await world.audit.raising.stop()
    await projector.stop()
    for place_of, name, path, emptied in looks:
        _emptied_before(monkeypatch, place_of, name, partial(_empty, world, emptied))
        before = await _landed(world)
        answer, landed = await seen.ask(path), await _landed(world) - before
        monkeypatch.undo()
        await projector.caught_up()
        assert (answer.status_code, landed) == (503, 0), (name, path, emptied)
        assert "items" not in answer.json()
    for path in sorted({path for _, _, path, _ in looks}, key=lambda path: "resolve" in path):
        folded = await seen.ask(path)
        assert folded.is_success, (path, folded.text)
        assert folded.json().get("items", ["one"]), path


@pytest.mark.parametrize("who", ["person", "client"])
async def test_whoever_is_let_in_is_not_told_otherwise_over_emptied_rows(
    world: World, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    """SG-9: a service client neither, and not before a form is judged."""
    await register(world, "audit.read")
    caller = await world.analyst() if who == "person" else token(world, "audit.read")
    await world.audit.runtime.projector.stop()
    for limit, folded in ((1, 200), ("none", 422)):
        _emptied_before(monkeypatch, asking, "standing_of", partial(_empty, world, DIRECTORY))
        before = await _landed(world)
        answer = await caller.ask("/v1/events", limit=limit)
        assert (answer.status_code, await _landed(world) - before) == (503, 0)
        monkeypatch.undo()
        assert (await caller.ask("/v1/events", limit=limit)).status_code == folded


async def _empty(world: World, projections: Sequence[str]) -> None:
    await world.audit.runtime.projector._batches.empty(projections)


def _emptied_before(
    monkeypatch: pytest.MonkeyPatch,
    place_of: Any,  # noqa: ANN401 - a class or a module
    name: str,
    empty: Callable[[], Awaitable[None]],
) -> None:
    look = getattr(place_of, name)

    async def later(*arguments: Any) -> Any:  # noqa: ANN401 - as it is
        await empty()
        return await look(*arguments)

    monkeypatch.setattr(place_of, name, later)
