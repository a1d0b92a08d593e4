"""Resets of some or all who work at an organisation (SG-21)."""

from http import HTTPStatus

import httpx
import pytest

from services.authz import organisation_resets
from services.authz.credential_events import CREDENTIALS_RESET, ORGANISATION_RESET
from services.authz.desk import Desk
from services.authz.events import Role
from services.kernel.errors import Unavailable
from tests.authz.spooled import by_hand, delivered, token_of
from tests.authz.staffed import KOTARE, MATAI, RIMU, TUI, Region
from tests.emptied import emptied_before

__all__ = ["by_hand"]


WHY = "Laptops stolen from the office"


async def _reset_all(
    region: Region, who: str, place: str, key: str = "", **more: object
) -> httpx.Response:
    path = f"/v1/organisations/{region.organisations[place]}/reset"
    headers = {"idempotency-key": key} if key else {}
    return await region.call(who, "POST", path, {"reason": WHY, **more}, headers=headers)


async def _reset_people(region: Region) -> list[str]:
    """Return the names of who was reset, each time they were."""
    names = {str(person_id): name for name, person_id in region.people.items()}
    return sorted(names[r.event.data["person_id"]] for r in await region.log(CREDENTIALS_RESET))


async def test_a_leader_resets_everybody_of_theirs_but_not_themselves(region: Region) -> None:
    """SG-21: each gets a letter of their own; who leads or works elsewhere too is left out."""
    await region.person("deputy", (Role.SCHOOL_LEADER, MATAI))
    await region.person("both", (Role.PRIMARY_CONTACT, MATAI), (Role.PRIMARY_CONTACT, RIMU))

    done = await _reset_all(region, "leader", MATAI)

    assert done.status_code == HTTPStatus.OK, done.text
    assert (done.json()["reset"], done.json()["channel"]) == (2, "spool")
    assert await _reset_people(region) == ["contact", "office"]
    letters = await delivered(region)
    assert {letter["to"] for letter in letters} == {
        "contact@school.example",
        "office@school.example",
    }
    assert not [letter for letter in letters if token_of(letter) in done.text]
    for name, status in (("contact", 401), ("office", 401), ("leader", 200), ("both", 200)):
        answer = await region.call(name, "GET", "/v1/organisations")
        assert answer.status_code == status, name


async def test_an_administrator_resets_everybody_anywhere(region: Region) -> None:
    """SG-21: its leader, and who works elsewhere too, included."""
    await region.person("both", (Role.PRIMARY_CONTACT, MATAI), (Role.PRIMARY_CONTACT, RIMU))

    done = await _reset_all(region, "admin", MATAI)

    assert done.json()["reset"] == 4
    assert await _reset_people(region) == ["both", "contact", "leader", "office"]
    acts = await region.log(ORGANISATION_RESET)
    resets = [r.event for r in await region.log(CREDENTIALS_RESET)]
    assert WHY.encode() not in acts[0].body
    assert acts[0].event.organisation_id == region.organisations[MATAI]
    assert {event.actor.person_id for event in resets} == {region.people["admin"]}
    assert {event.object.id for event in resets if event.object} == {
        str(region.people[name]) for name in ("both", "contact", "leader", "office")
    }
    assert {event.data["act_id"] for event in resets} == {done.json()["id"]}


ASKING = (
    ("office", MATAI, 403),
    ("manager", KOTARE, 403),
    ("investigator", MATAI, 403),
    ("leader", RIMU, 404),
    ("leader", KOTARE, 404),
    ("lead", KOTARE, 200),
    ("isp", TUI, 200),
)


async def test_who_may_reset_an_organisation(region: Region) -> None:
    """SG-21 and AC-DO-4: its leader or lead, and the Ministry's administrators."""
    for name in ("isp", "isp_other"):
        await region.person(name, (Role.ISP_WORKFLOW_LEAD, TUI))
    await region.person("isp_analyst", (Role.SECURITY_ANALYST, TUI))
    for who, place, status in ASKING:
        answer = await _reset_all(region, who, place)
        assert answer.status_code == status, (who, place)
    assert await _reset_people(region) == ["isp_analyst", "manager"]


@pytest.mark.parametrize(
    ("who", "named", "status"),
    [
        ("leader", ["office"], 200),
        ("leader", ["office", "rimu_leader"], 404),
        ("leader", ["office", "leader"], 403),
        ("admin", ["leader"], 200),
        ("admin", ["leader", "office"], 403),
        ("leader", [], 422),
    ],
)
async def test_who_is_named_is_reset_or_nobody_is(
    region: Region, who: str, named: list[str], status: int
) -> None:
    """SG-21: some; naming them gives no more right than resetting them one by one."""
    ids = [str(region.people[name]) for name in named]

    answer = await _reset_all(region, who, MATAI, person_ids=ids)

    assert answer.status_code == status
    assert await _reset_people(region) == (named if status == HTTPStatus.OK else [])


async def test_repeated_after_an_interruption_it_does_the_rest_once(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Contract: Idempotency-Key; a crash half-way is no obstacle."""
    monkeypatch.setattr(organisation_resets, "_BATCH", 1)
    for name in ("third", "fourth"):
        await region.person(name, (Role.PRIMARY_CONTACT, MATAI))
    handling, seen = region.authz.runtime.handling, 0
    run = type(handling).run

    async def breaking(self, decide):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 - as run
        nonlocal seen
        seen += 1
        if seen == 4:
            raise Unavailable
        return await run(self, decide)

    monkeypatch.setattr(type(handling), "run", breaking)
    first = await _reset_all(region, "leader", MATAI, "once")
    half = await _reset_people(region)
    again = await _reset_all(region, "leader", MATAI, "once")
    more = await _reset_all(region, "leader", MATAI, "once")

    assert (first.status_code, len(half)) == (503, 2)
    assert (again.status_code, again.json()["reset"]) == (200, 4)
    assert more.json() == again.json()
    assert await _reset_people(region) == ["contact", "fourth", "office", "third"]
    assert len(await region.log(ORGANISATION_RESET)) == 1
    assert len(await delivered(region)) == 4


@pytest.mark.parametrize("name", ["authz.directory", "authz.administration"])
async def test_beside_a_rebuild_it_leaves_nobody_out_and_counts_everybody(
    region: Region, name: str
) -> None:
    """SG-21: rows that are emptied once the act is a fact name nobody, whom it still reaches."""
    async with emptied_before(Desk, "look", region.authz.runtime.projector, name):
        done = await _reset_all(region, "leader", MATAI)

    assert (done.status_code, done.json().get("reset")) == (200, 2)
    assert await _reset_people(region) == ["contact", "office"]
