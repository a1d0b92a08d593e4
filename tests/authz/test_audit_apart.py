"""Somebody with posts at two organisations: what one shows is in that one's audit (reading 36)."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

import pytest

from services.authz import events as e
from services.authz.events import OrganisationKind, Role
from services.kernel.events import Event
from tests.authz.staffed import MATAI, MINISTRY, RIMU, Region

KAURI = "Kauri School"


class Told(NamedTuple):
    """What an event says of who saw what: for whom, in which roles, the ids by part."""

    place: str
    roles: Sequence[str]
    shown: Mapping[str, Sequence[str]]


@pytest.fixture
async def two(region: Region) -> Region:
    """Give somebody two schools, and those a colleague."""
    await region.person("both", (Role.SCHOOL_LEADER, MATAI), (Role.SCHOOL_OFFICE, RIMU))
    await region.person("relief", (Role.PRIMARY_CONTACT, MATAI), (Role.PRIMARY_CONTACT, RIMU))
    return region


async def ask(region: Region, path: str, who: str = "both") -> Any:  # noqa: ANN401 - JSON
    answer = await region.call(who, "GET", path)
    assert answer.status_code == HTTPStatus.OK, answer.text
    return answer.json()


async def told(region: Region, type_: str = e.READ) -> list[Told]:
    """Return what the events of a type say; each is of one organisation, whoever they are of."""
    events = [r.event for r in await region.log(type_)]
    return [_told(region, event) for event in events]


def _told(region: Region, event: Event) -> Told:
    names = {id_: name for name, id_ in region.organisations.items()}
    assert event.actor.organisation_id is not None
    assert event.origin.request_id == "r-1"
    return Told(
        names[event.actor.organisation_id], [g.role for g in event.grounds], dict(event.shown)
    )


def posts(answer: Mapping[str, Any], region: Region) -> dict[str, str]:
    """Return a person's assignments as answered, by the name of the organisation."""
    names = {str(id_): name for name, id_ in region.organisations.items()}
    return {names[a["organisation_id"]]: a["id"] for a in answer["assignments"]}


async def test_a_list_of_organisations_is_an_event_for_each(two: Region) -> None:
    """AC-USE-1, DP-5: each names the post there, and itself alone."""
    await ask(two, "/v1/organisations")
    matai, rimu = ([str(two.organisations[name])] for name in (MATAI, RIMU))
    assert await told(two) == [
        Told(MATAI, [Role.SCHOOL_LEADER], {"organisation": matai}),
        Told(RIMU, [Role.SCHOOL_OFFICE], {"organisation": rimu}),
    ]
    assert [r.event.organisation_id for r in await two.log(e.READ)] == [
        two.organisations[MATAI],
        two.organisations[RIMU],
    ]


async def test_a_page_with_nothing_of_an_organisation_is_no_event_of_its(two: Region) -> None:
    """DP-5: an event says what was shown; an empty page is an event all the same."""
    page = await ask(two, "/v1/organisations?limit=1")
    await ask(two, f"/v1/organisations?limit=1&cursor={page['next_cursor']}")
    assert [one.place for one in await told(two)] == [MATAI, RIMU]


async def test_a_person_is_told_to_each_with_their_post_there(two: Region) -> None:
    """AC-SEE-7, AC-DO-13: who it is both posts show, how to reach them the one that corrects."""
    relief = str(two.people["relief"])
    own = posts(await ask(two, f"/v1/people/{relief}"), two)
    assert set(own) == {MATAI, RIMU}
    assert await told(two) == [
        Told(MATAI, [Role.SCHOOL_LEADER], {"profile": [relief], "assignment": [own[MATAI]]}),
        Told(RIMU, [Role.SCHOOL_OFFICE], {"name": [relief], "assignment": [own[RIMU]]}),
    ]


async def test_who_works_at_one_of_them_is_told_to_that_one(two: Region) -> None:
    """AC-SEE-7: no ground, and so no event, of the other."""
    await ask(two, f"/v1/people/{two.people['rimu_contact']}")
    await ask(two, f"/v1/organisations/{two.organisations[RIMU]}/staff")
    await ask(two, f"/v1/organisations/{two.organisations[RIMU]}")
    assert [(one.place, one.roles) for one in await told(two)] == [(RIMU, ["school_office"])] * 3


async def test_oneself_is_told_to_each_with_ones_post_there(two: Region) -> None:
    """AC-SEE-22: a post still to begin elsewhere is in the first, and none is left out."""
    await two.organisation(KAURI, OrganisationKind.SCHOOL)
    begins = two.installation.effects.now().replace(year=2100).isoformat()
    later = await two.grant("admin", "both", Role.SCHOOL_LEADER, KAURI, **{"from": begins})
    assert later.status_code == HTTPStatus.CREATED, later.text
    me = str(two.people["both"])
    own = posts(await ask(two, f"/v1/people/{me}"), two)
    assert [(one.place, one.shown) for one in await told(two)] == [
        (MATAI, {"profile": [me], "assignment": [own[MATAI], own[KAURI]]}),
        (RIMU, {"profile": [me], "assignment": [own[RIMU]]}),
    ]


async def test_ones_activity_is_told_to_each_with_what_one_did_for_it(two: Region) -> None:
    """AC-SEE-22: how much somebody does elsewhere is no organisation's to count."""
    await ask(two, "/v1/organisations")
    matai, rimu = [str(r.event.id) for r in await two.log(e.READ)]
    listed = await ask(two, "/v1/me/activity")
    assert {matai, rimu} <= {one["id"] for one in listed["items"]}
    events = {one.place: one for one in (await told(two))[2:]}
    assert {place: one.roles for place, one in events.items()} == {
        MATAI: [Role.SCHOOL_LEADER],
        RIMU: [Role.SCHOOL_OFFICE],
    }
    assert events[RIMU].shown == {"activity": [rimu]}
    shown = [id_ for one in events.values() for id_ in one.shown["activity"]]
    assert sorted(shown) == sorted(one["id"] for one in listed["items"])


async def test_what_one_did_for_an_organisation_one_has_left_is_told_to_no_other(
    two: Region,
) -> None:
    """AC-SEE-22, DP-5: nor are ids of there shown; one's own profile and session stay known."""
    contact = str(two.people["contact"])
    await ask(two, f"/v1/people/{contact}")
    await ask(two, f"/v1/people/{two.people['rimu_contact']}")
    matai, rimu = [str(r.event.id) for r in await two.log(e.READ)]
    await two.lose("both")
    listed = {one["id"]: one for one in (await ask(two, "/v1/me/activity"))["items"]}
    assert listed[matai]["object"] == {"type": "person", "id": None}
    assert listed[matai]["shown"] == {"profile": [], "assignment": []}
    assert listed[rimu]["object"]["id"] == str(two.people["rimu_contact"])
    assert contact not in str(listed)
    shown = {r.event.actor.organisation_id: r.event.shown for r in (await two.log(e.READ))[2:]}
    left = shown.pop(None)["activity"]
    assert matai in left
    assert shown == {two.organisations[RIMU]: {"activity": [rimu]}}
    assert sorted([*left, rimu]) == sorted(listed)


async def test_a_correction_answers_what_another_post_shows_on_an_event_of_its_own(
    two: Region,
) -> None:
    """AC-DO-13: the fact is of the post that corrects; both are appended, or neither."""
    path, relief = f"/v1/people/{two.people['relief']}", str(two.people["relief"])
    before = await two.authz.runtime.projector.head()
    answer = await two.call("both", "PATCH", path, {"phone": "1"}, headers={"if-match": "*"})
    assert answer.status_code == HTTPStatus.OK, answer.text
    own = posts(answer.json(), two)
    (fact,), (read,) = await told(two, e.PROFILE_CORRECTED), await told(two)
    assert fact == Told(
        MATAI, [Role.SCHOOL_LEADER], {"profile": [relief], "assignment": [own[MATAI]]}
    )
    assert read == Told(RIMU, [Role.SCHOOL_OFFICE], {"name": [relief], "assignment": [own[RIMU]]})
    assert await two.authz.runtime.projector.head() == before + 2


async def test_what_the_ministry_and_an_own_post_show_is_named_in_both(region: Region) -> None:
    """AC-DO-16, AC-SEE-7: an administrator who leads a school, too."""
    await region.person("both", (Role.SCHOOL_LEADER, MATAI), (Role.ADMINISTRATOR, MINISTRY))
    listed = await ask(region, "/v1/organisations")
    everything = [one["id"] for one in listed["items"]]
    matai = region.organisations[MATAI]
    assert await told(region) == [
        Told(MATAI, [Role.SCHOOL_LEADER], {"organisation": [str(matai)]}),
        Told(MINISTRY, [Role.ADMINISTRATOR], {"organisation": everything}),
    ]
    assert len(everything) > 1
    await ask(region, f"/v1/organisations/{matai}/staff")
    places = [(one.place, one.roles) for one in (await told(region))[2:]]
    assert places == [(MATAI, [Role.SCHOOL_LEADER]), (MINISTRY, [Role.ADMINISTRATOR])]


@pytest.mark.parametrize("path", ["/v1/organisations/{}", "/v1/organisations/{}/staff"])
async def test_what_an_own_post_tells_is_not_told_of_the_ministry_once_more(
    region: Region, path: str
) -> None:
    """DP-5: two events side by side would say that a leader sits at the Ministry, too."""
    await region.person("both", (Role.ADMINISTRATOR, MINISTRY), (Role.SCHOOL_LEADER, MATAI))
    for name in (MATAI, RIMU):
        await ask(region, path.format(region.organisations[name]))
    names = {id_: name for name, id_ in region.organisations.items()}
    concerned = [
        (names[r.event.actor.organisation_id], names[r.event.organisation_id])
        for r in await region.log(e.READ)
        if r.event.actor.organisation_id and r.event.organisation_id
    ]
    assert concerned == [(MINISTRY, MINISTRY), (MATAI, MATAI), (MINISTRY, RIMU)]
