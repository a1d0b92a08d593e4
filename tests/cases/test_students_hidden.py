"""A learner one may not see is refused like one who does not exist, and with the same work."""

from typing import Any, Final
from uuid import UUID, uuid4

import pytest

from services.authz.access import Claims
from services.cases.acquaintance import JUDGED, Acquaintance
from services.cases.desk import Asked
from services.kernel.errors import NotFound
from services.kernel.http import Call
from services.kernel.keystore import KeyStore
from services.kernel.sealing import Compartment, KeyRef
from tests.cases.test_hidden import like
from tests.cases.world import Region, Staff

pytestmark = pytest.mark.asyncio(loop_scope="module")
WORDS: Final = {"reason": "For a good reason."}


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Compartment]:
    """Note the compartment of every key that is brought into reach."""
    compartments: list[Compartment] = []
    load = KeyStore.load

    async def noted(self: KeyStore, refs: Any, **options: bool) -> None:  # noqa: ANN401 - as it is
        asked: list[KeyRef] = list(refs)
        compartments.extend(ref.compartment for ref in asked)
        await load(self, asked, **options)

    monkeypatch.setattr(KeyStore, "load", noted)
    return compartments


def asked(place: Region, who: Staff) -> Asked:
    until = place.world.now().replace(year=place.world.now().year + 1)
    return Asked(Call("x", "", ""), Claims(until, who.id, who.session_id), "read")


async def acquaintance(place: Region, who: Staff, student_id: UUID) -> Acquaintance:
    front = place.world.cases.front
    asking = await front.desk.loader.asking(asked(place, who).claims, place.world.now())
    return await front.students.acquaintance(asking, student_id)


async def learners(place: Region) -> dict[int, UUID]:
    """Return learners of the first school by how many records they have."""
    found = {}
    for count in (0, 2, 4):
        found[count] = await place.world.student(place.school, "Aroha", "Kingi")
        for _ in range(count):
            await place.world.request(place.leader, found[count], submit=False)
    return found


async def test_a_hidden_learner_answers_as_a_missing_one(place: Region) -> None:
    """Reading one, and naming one in a request: status, headers and body are the same."""
    world = place.world
    hidden = await learners(place)
    for who in (place.other_leader, place.other_lead, place.team, place.manager):
        for one in hidden.values():
            pairs = [
                (
                    await world.get(who, f"/v1/students/{student}"),
                    await world.send(who, "POST", "/v1/requests", {**WORDS, "student_id": student}),
                )
                for student in (str(one), str(uuid4()))
            ]
            assert [like(a) for a in pairs[0]] == [like(a) for a in pairs[1]]
            assert {answer.status_code for answer in pairs[0]} == {404}


async def test_hidden_and_missing_learners_take_the_same_work(
    place: Region, opened: list[Compartment]
) -> None:
    """As many rows judged and guards appended, however many records; nothing is opened."""
    who, students = place.other_leader, place.world.cases.front.students
    hidden = await learners(place)
    await students.names.catch_up()  # else that opens names, beside this, whenever it is its turn
    opened.clear()
    guards, bodies = set(), set()
    for one in (*hidden.values(), *(uuid4() for _ in range(20))):
        draft = await students.read(asked(place, who), one)
        assert isinstance(draft.reply, NotFound)
        guards.add(len(draft.group.guards))
        (event,) = draft.group.events
        bodies.add((event.type, event.outcome, str(event.data), str(event.shown)))
    assert len(bodies) == len(guards) == 1
    assert set(opened) == {Compartment.ORIGIN}


async def test_a_refusal_rests_on_every_record_of_the_learner(place: Region) -> None:
    """Whatever would let the caller know the learner touches a key of the refusal."""
    world, who = place.world, place.other_manager
    student = await world.student(place.school, "Aroha", "Kingi")
    case = await place.case(student)
    refused = await acquaintance(place, who, student)
    assert not refused.known
    destination = {"organisation_id": str(place.other_asp)}
    await world.must(place.team, "POST", f"/v1/cases/{case}/move", destination)
    assert set((await world.newest()).touches) & set(refused.guards)
    assert not (await acquaintance(place, who, student)).known
    person = {"person_id": str(who.id)}
    await world.must(place.other_lead, "POST", f"/v1/cases/{case}/assign", person)
    assert set((await world.newest()).touches) & set(refused.guards)
    assert (await acquaintance(place, who, student)).known


async def test_who_stands_in_is_drawn_by_chance_and_stays_the_same(place: Region) -> None:
    """Ids side by side have stand-ins apart, so that asking tells nothing of the neighbours."""
    world, who = place.world, place.leader
    for number in range(12):
        await world.student(place.other_school if number % 2 else place.school, "A", "B")
    near = [UUID(int=place.student.int + 1 + n) for n in range(64)]
    drawn = [await acquaintance(place, who, one) for one in near]
    assert {a.school_id for a in drawn} == {place.school, place.other_school}
    assert len({a.guards[-JUDGED:] for a in drawn}) > 3
    assert [await acquaintance(place, who, one) for one in near] == drawn
    assert not any(a.exists or a.known for a in drawn)
