"""The office acts on a leader's recorded decision, which serves once (AC-DO-3)."""

import asyncio
from datetime import datetime, timedelta
from http import HTTPStatus
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest

from services.authz import events as e
from services.authz.access_changes import Change
from services.authz.access_rulings import serves_until
from services.authz.administration import GRANT, REVOKE, AccessDecision
from services.authz.directory import Assignment, Organisation, Person
from services.authz.events import OrganisationKind, Role
from tests.authz.staffed import MATAI, RIMU, Region
from tests.conftest import Clock
from tests.kernel.given import NOON

ROLE = Role.SCHOOL_OFFICE


async def carry_out(region: Region, decision_id: str, role: Role = ROLE) -> httpx.Response:
    return await region.grant("office", "contact", role, MATAI, decision_id=decision_id)


async def recorded(region: Region, **more: object) -> str:
    answer = await region.decision("leader", "contact", ROLE, **more)
    assert answer.status_code == HTTPStatus.CREATED, answer.text
    return str(answer.json()["id"])


async def test_the_office_alone_grants_nothing(region: Region) -> None:
    """AC-DO-3: without a decision, refused."""
    granted = await region.grant("office", "contact", ROLE, MATAI)
    assert granted.status_code == HTTPStatus.FORBIDDEN


async def test_the_office_carries_out_a_decision(region: Region) -> None:
    """AC-DO-3."""
    decision_id = await recorded(region)
    granted = await carry_out(region, decision_id)
    assert granted.status_code == HTTPStatus.CREATED, granted.text
    event = (await region.log(e.ASSIGNMENT_GRANTED))[-1].event
    assert event.data["decision_id"] == decision_id
    assert event.grounds[0].clause == "AC-DO-3"
    assert event.actor.person_id == region.people["office"]


async def test_a_decision_serves_once(region: Region) -> None:
    """AC-DO-3: after the access it gave was revoked, it gives none again."""
    decision_id = await recorded(region)
    granted = await carry_out(region, decision_id)
    region.assignments["contact"] = granted.json()["id"]
    assert (await region.revoke("leader", "contact")).status_code == HTTPStatus.NO_CONTENT
    again = await carry_out(region, decision_id)
    assert again.status_code == HTTPStatus.FORBIDDEN


async def test_of_two_grants_on_one_decision_at_once_exactly_one_lands(region: Region) -> None:
    """AC-DO-3: serves once, also in a race between two processes."""
    other = await region.another()
    decision_id = await recorded(region)
    path = f"/v1/people/{region.people['contact']}/assignments"
    until = region.installation.effects.now() + timedelta(days=1)
    body = {
        "role": ROLE,
        "organisation_id": str(region.organisations[MATAI]),
        "decision_id": decision_id,
    }
    later = {**body, "from": (until + timedelta(days=1)).isoformat()}
    answers = await asyncio.gather(
        region.call("office", "POST", path, {**body, "until": until.isoformat()}),
        region.call("office", "POST", path, later, at=other),
    )
    assert sorted(a.status_code for a in answers) == [HTTPStatus.CREATED, HTTPStatus.FORBIDDEN]
    used = [r for r in await region.log(e.ASSIGNMENT_GRANTED) if r.event.data["decision_id"]]
    assert len(used) == 1


async def test_a_decision_expires(region: Region, clock: Clock) -> None:
    """AC-DO-3: it names an expiry."""
    decision_id = await recorded(
        region, expires_at=(clock.now() + timedelta(minutes=1)).isoformat()
    )
    clock.advance(timedelta(minutes=2))
    assert (await carry_out(region, decision_id)).status_code == HTTPStatus.FORBIDDEN


async def test_a_decision_that_has_expired_cannot_be_recorded(region: Region, clock: Clock) -> None:
    past = (clock.now() - timedelta(minutes=1)).isoformat()
    answer = await region.decision("leader", "contact", ROLE, expires_at=past)
    assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY


async def test_a_decision_names_the_role(region: Region) -> None:
    """AC-DO-3."""
    decision_id = await recorded(region)
    other = await carry_out(region, decision_id, Role.SCHOOL_LEADER)
    assert other.status_code == HTTPStatus.FORBIDDEN


async def test_a_decision_names_the_person(region: Region) -> None:
    """AC-DO-3."""
    decision_id = await recorded(region)
    other = await region.grant("office", "leader", ROLE, MATAI, decision_id=decision_id)
    assert other.status_code == HTTPStatus.FORBIDDEN


async def test_a_decision_to_grant_revokes_nothing(region: Region) -> None:
    """AC-DO-3: it says which change it is."""
    answer = await region.decision("leader", "contact", Role.PRIMARY_CONTACT)
    query = f"?decision_id={answer.json()['id']}"
    revoked = await region.revoke("office", "contact", query=query)
    assert revoked.status_code == HTTPStatus.FORBIDDEN


async def test_the_office_revokes_on_a_decision(region: Region) -> None:
    """AC-DO-3."""
    answer = await region.decision("leader", "contact", Role.PRIMARY_CONTACT, action="revoke")
    query = f"?decision_id={answer.json()['id']}"
    assert (await region.revoke("office", "contact")).status_code == HTTPStatus.FORBIDDEN
    revoked = await region.revoke("office", "contact", query=query)
    assert revoked.status_code == HTTPStatus.NO_CONTENT
    event = (await region.log(e.ASSIGNMENT_REVOKED))[-1].event
    assert (event.data["decision_id"], event.grounds[0].clause) == (
        answer.json()["id"],
        "AC-DO-3",
    )


async def test_a_decision_falls_with_the_leader_who_made_it(region: Region) -> None:
    """SG-3: who has left decides nothing any more."""
    await region.grant("leader", "office", Role.PRIMARY_CONTACT, MATAI)
    await region.person("second", (Role.SCHOOL_LEADER, MATAI))
    decision_id = await recorded(region)
    assert (await region.revoke("second", "leader")).status_code == HTTPStatus.NO_CONTENT
    assert (await carry_out(region, decision_id)).status_code == HTTPStatus.FORBIDDEN


async def test_no_decision_lets_the_office_name_itself(region: Region) -> None:
    """AC-DO-3: never themselves."""
    answer = await region.decision("leader", "office", Role.SCHOOL_LEADER)
    decision_id = answer.json()["id"]
    granted = await region.grant(
        "office", "office", Role.SCHOOL_LEADER, MATAI, decision_id=decision_id
    )
    assert granted.status_code == HTTPStatus.FORBIDDEN


@pytest.mark.parametrize("who", ["office", "contact", "admin", "lead"])
async def test_only_a_leader_decides(region: Region, who: str) -> None:
    """AC-DO-1."""
    answer = await region.decision(who, "contact", Role.SCHOOL_LEADER)
    sees = who in {"office", "contact", "admin"}
    assert answer.status_code == (HTTPStatus.FORBIDDEN if sees else HTTPStatus.NOT_FOUND)
    assert not await region.log(e.ACCESS_DECISION_RECORDED)


async def test_a_leader_decides_nothing_about_themselves(region: Region) -> None:
    """AC-DO-1: never themselves."""
    answer = await region.decision("leader", "leader", Role.SCHOOL_OFFICE)
    assert answer.status_code == HTTPStatus.FORBIDDEN


async def test_a_leader_decides_for_their_own_school_only(region: Region) -> None:
    """AC-DO-1."""
    place = str(region.organisations[RIMU])
    answer = await region.decision("leader", "contact", ROLE, organisation_id=place)
    assert answer.status_code == HTTPStatus.NOT_FOUND


async def test_a_decision_that_does_not_exist_is_as_good_as_none(region: Region) -> None:
    assert (await carry_out(region, str(uuid4()))).status_code == HTTPStatus.FORBIDDEN


async def test_a_leader_needs_no_decision_and_uses_none_up(region: Region) -> None:
    """AC-DO-1."""
    decision_id = await recorded(region)
    granted = await region.grant("leader", "contact", ROLE, MATAI, decision_id=decision_id)
    assert granted.status_code == HTTPStatus.CREATED
    assert (await region.log(e.ASSIGNMENT_GRANTED))[-1].event.data["decision_id"] is None


async def test_a_decision_is_recorded_once_per_key(region: Region) -> None:
    """Contract: Idempotency-Key."""
    body = {
        "person_id": str(region.people["contact"]),
        "role": ROLE,
        "organisation_id": str(region.organisations[MATAI]),
        "expires_at": (region.installation.effects.now() + timedelta(days=1)).isoformat(),
    }
    key = {"idempotency-key": "d-1"}
    path = "/v1/access-decisions"
    first = await region.call("leader", "POST", path, body, headers=key)
    again = await region.call("leader", "POST", path, body, headers=key)
    assert first.json() == again.json()
    assert len(await region.log(e.ACCESS_DECISION_RECORDED)) == 1


def test_a_decision_serves_no_longer_than_its_leader_leads() -> None:
    """AC-DO-3, SG-14: a relief leader's decisions end with the relief."""
    school, leader_id, post, person_id = (UUID(int=n) for n in range(1, 5))
    found = AccessDecision(
        id=UUID(int=9),
        person_id=person_id,
        role=ROLE,
        organisation_id=school,
        change=GRANT,
        expires_at=NOON + timedelta(days=7),
        decided_by=leader_id,
        decided_as=post,
        served=False,
    )
    place = Organisation(school, OrganisationKind.SCHOOL, "Kauri School", "Pacific/Auckland")
    change = Change(Person(person_id, b"", UUID(int=0)), ROLE, place, GRANT)

    def until(ends_at: datetime | None, decision: AccessDecision = found) -> datetime | None:
        held = Assignment(post, Role.SCHOOL_LEADER, school, NOON - timedelta(days=1), ends_at)
        leader = Person(leader_id, b"", UUID(int=0), (held,))
        return serves_until(decision, leader, change, NOON)

    tomorrow, later = NOON + timedelta(days=1), NOON + timedelta(days=9)
    assert until(None) == until(later) == found.expires_at
    assert until(tomorrow) == tomorrow
    assert until(NOON) is None
    for other in (
        {"served": True},
        {"expires_at": NOON},
        {"change": REVOKE},
        {"role": Role.SCHOOL_LEADER},
        {"person_id": leader_id},
        {"organisation_id": post},
        {"decided_as": person_id},
    ):
        assert until(None, msgspec.structs.replace(found, **other)) is None
    assert serves_until(found, None, change, NOON) is None
