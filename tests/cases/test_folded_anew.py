"""While read models are folded anew, nobody who is right is told that they are wrong (SG-9)."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import httpx
import pytest

from services.cases.acquaintance import Acquaintances
from services.cases.lists import Lists
from services.cases.loading import Loader
from services.cases.name_index import NameIndex
from tests.cases.world import REASON, Region, Staff
from tests.emptied import emptied_before

pytestmark = pytest.mark.asyncio(loop_scope="module")
#: asks for what the caller may do or see, and answers what came of it
Attempt = Callable[[], Awaitable[httpx.Response]]


def _sent(place: Region, who: Staff, method: str, path: str, body: Any = None) -> Attempt:  # noqa: ANN401 - JSON
    return lambda: place.world.send(who, method, path, body, if_match="*")


async def _accepted(place: Region) -> str:
    world = place.world
    learner = await world.student(place.school, "Hana", "Parata")
    path = f"/v1/requests/{await world.request(place.leader, learner)}"
    await world.must(place.team, "POST", f"{path}/accept")
    return path


async def _allocate(place: Region) -> Attempt:
    body = {"organisation_id": str(place.asp)}
    return _sent(place, place.team, "POST", f"{await _accepted(place)}/allocate", body)


async def _assign(place: Region) -> Attempt:
    path = await _accepted(place)
    provider = {"organisation_id": str(place.asp)}
    await place.world.must(place.team, "POST", f"{path}/allocate", provider)
    body = {"person_id": str(place.manager.id)}
    return _sent(place, place.lead, "POST", f"{path}/assign", body)


async def _reassign(place: Region) -> Attempt:
    body = {"person_id": str(place.colleague.id)}
    return _sent(place, place.lead, "POST", f"/v1/cases/{await place.case()}/assign", body)


async def _name_contact(place: Region) -> Attempt:
    path, body = f"/v1/cases/{await place.case()}", {"person_id": str(place.contact.id)}
    return _sent(place, place.leader, "PUT", f"{path}/primary-contact", body)


async def _draft(place: Region) -> Attempt:
    learner = await place.world.student(place.school, "Hana", "Parata")
    body = {"student_id": str(learner), "reason": REASON}
    return _sent(place, place.leader, "POST", "/v1/requests", body)


async def _case(place: Region) -> Attempt:
    return _sent(place, place.leader, "GET", f"/v1/cases/{await place.case()}")


async def _learner(place: Region) -> Attempt:
    return _sent(place, place.leader, "GET", f"/v1/students/{place.student}")


async def _search(place: Region) -> Attempt:
    return _sent(place, place.leader, "POST", "/v1/students/search", {"query": "Te Whare"})


async def _list(place: Region) -> Attempt:
    return _sent(place, place.leader, "GET", "/v1/cases")


#: who reads after it is known who is calling, as what, in which request
LATER: Final = (
    (Loader, "organisation", _allocate),
    (Loader, "serves", _allocate),
    (Loader, "people_at", _assign),
    (Loader, "people_at", _name_contact),
    (Loader, "completed", _reassign),
    (Loader, "begun", _draft),
    (Acquaintances, "of", _draft),
    (Acquaintances, "of", _learner),
    (Loader, "student", _learner),
    (NameIndex, "candidates", _search),
    (Lists, "_page", _list),
)


@pytest.mark.parametrize(("place_of", "name", "way"), LATER)
async def test_nothing_rests_on_rows_that_were_emptied_since_they_were_read_first(
    place: Region,
    place_of: type,
    name: str,
    way: Callable[[Region], Awaitable[Attempt]],
) -> None:
    """SG-9: neither an answer nor an event says that what is there is not."""
    attempt, projector = await way(place), place.world.cases.runtime.projector
    before = len(await place.world.events())
    async with emptied_before(place_of, name, projector):
        unfolded = await attempt()
    landed = (await place.world.events())[before:]
    await projector.caught_up()
    projector.start()
    folded = await attempt()

    assert (unfolded.status_code, landed) == (503, [])
    assert folded.is_success, folded.text


async def _nonsense(place: Region) -> Attempt:
    body = {"query": ["no text"]}
    return _sent(place, place.leader, "POST", "/v1/students/search", body)


#: who reads whether a session lives, in which request, and what is answered once rows are whole
LIVE: Final = (("asking", _list, 200), ("asking", _nonsense, 422), ("record", _case, 200))


async def test_who_is_signed_in_is_never_401_however_often_rows_are_emptied_meanwhile(
    place: Region,
) -> None:
    """SG-9: 401 has whoever asks throw their tokens away, so it rests on whole rows alone."""
    projector = place.world.cases.runtime.projector
    for name, way, status in (
        ("asking", _list, 200),
        ("asking", _nonsense, 422),
        ("record", _case, 200),
    ):
        attempt = await way(place)
        async with emptied_before(Loader, name, projector):
            unfolded = await attempt()
        folded = await attempt()
        assert (unfolded.status_code, folded.status_code) == (503, status), (name, way)
    projector.start()
