"""Service clients that read events: by scope, while registered, each reading recorded (SG-8)."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import httpx
import jwt
import pytest

from services.authz import access
from services.authz.client_events import (
    CLIENT_REGISTERED,
    CLIENT_REVOKED,
    ClientRegistered,
    ClientRevoked,
    client_key,
)
from services.authz.client_register import end
from services.kernel.budgets import BURST
from services.kernel.events import decode
from services.kernel.groups import Group
from services.kernel.log import Log
from tests.audit.given import World

READABLE = ("/v1/events", "/v1/students/{id}/accesses", "/v1/people/{id}/activity")
NOT_THEIRS = ("/v1/sessions", "/v1/alerts", "/v1/alerts/{id}")


@dataclass(frozen=True)
class Client:
    """A service client with a token, asking audit."""

    world: World
    id: str
    token: str

    async def ask(self, path: str, **filters: object) -> httpx.Response:
        """GET a path."""
        asked = {name.rstrip("_"): str(value) for name, value in filters.items()}
        headers = {"authorization": f"Bearer {self.token}"}
        return await self.world.client.get(path, params=asked, headers=headers)


async def register(
    world: World,
    *scopes: str,
    name: str = "monitor",
    version: int = 1,
    revoke: bool = False,
    of: UUID | None = None,
) -> None:
    """Append a registration, or its end."""
    data: object = ClientRegistered(
        client_id=name, name="A monitor", scopes=scopes, secret="sealed", organisation_id=of
    )
    if revoke:
        data = ClientRevoked(client_id=name)
    type_ = CLIENT_REVOKED if revoke else CLIENT_REGISTERED
    await world.fact(type_, f"client:{name}", version, data, (client_key(name),))


def token(world: World, *scopes: str, name: str = "monitor") -> Client:
    """Sign an access token as authz gives them to clients."""
    now = world.clock.now()
    claims = {
        "iss": access.ISSUER,
        "aud": access.AUDIENCE,
        "sub": name,
        "client_id": name,
        "scope": " ".join(scopes),
        "iat": int(now.timestamp()),
        "exp": int((now + timedelta(minutes=5)).timestamp()),
        "jti": str(world.id()),
    }
    headers = {"kid": "k1", "typ": access.TYPE}
    return Client(world, name, jwt.encode(claims, world.key, access.ALGORITHM, headers))


async def test_client_with_the_scope_reads_events_of_every_organisation(world: World) -> None:
    """Contract: scopes ``decisions``, ``feeds``, ``audit.read``."""
    await register(world, "audit.read")
    client, student = token(world, "audit.read"), world.id()
    manager = await world.staff("asp_case_manager", await world.organisation("asp"))
    read = await world.saw(manager, student)

    listed = await client.ask("/v1/events", type_="cases.read")
    accesses = await client.ask(f"/v1/students/{student}/accesses")
    activity = await client.ask(f"/v1/people/{manager.id}/activity")

    for answer in (listed, accesses, activity):
        assert [UUID(item["id"]) for item in answer.json()["items"]] == [read]


async def test_a_client_of_an_organisation_sees_what_is_its_own_and_is_seen_there(
    world: World,
) -> None:
    """SG-8, DP-5: no farther than somebody at that organisation who audits."""
    school, other = await world.organisation("school"), await world.organisation("school")
    ministry, student = await world.organisation("ministry"), world.id()
    offices = [await world.staff("school_office", place) for place in (school, other)]
    reads = [await world.saw(office, student) for office in offices]
    await register(world, "audit.read", of=school)
    await register(world, "audit.read", name="central", of=ministry)
    own, central = token(world, "audit.read"), token(world, "audit.read", name="central")
    theirs = await world.caller("security_analyst", school)
    others = await world.caller("security_analyst", other)

    async def found(client: Client) -> list[set[UUID]]:
        asked = (
            await client.ask("/v1/events", type_="cases.read"),
            await client.ask(f"/v1/students/{student}/accesses"),
        )
        items = [{UUID(item["id"]) for item in answer.json()["items"]} for answer in asked]
        return [ids & set(reads) for ids in items]

    assert await found(own) == [{reads[0]}] * 2
    assert await found(central) == [set(reads)] * 2
    assert (await own.ask(f"/v1/events/{reads[1]}")).status_code == 404
    seen = await theirs.items("/v1/events", actor="monitor")
    assert {event["actor"]["organisation_id"] for event in seen} == {str(school)}
    assert await others.items("/v1/events", actor="monitor") == []


async def test_what_a_client_read_is_an_event_that_names_client_clause_and_scope(
    world: World,
) -> None:
    """AC-USE-1, SG-12: the policy row, though there is no assignment to name."""
    await register(world, "audit.read")
    read = await world.saw(await world.staff("school_office", await world.organisation("school")))
    await token(world, "audit.read").ask("/v1/events", type_="cases.read")

    (asked,) = await (await world.analyst()).items("/v1/events", actor="monitor")

    assert asked["type"] == "audit.read"
    assert asked["actor"] == {"person_id": None, "client_id": "monitor", "organisation_id": None}
    assert asked["shown"] == {"events": [str(read)]}
    assert asked["grounds"] == []
    body = await world.audit.runtime.pool.fetchval(
        "select body from log.event where position = $1", asked["position"]
    )
    data = decode(asked["position"], body).event.data
    assert (data["clause"], data["scope"]) == ("SG-8", "audit.read")


@pytest.mark.parametrize("scopes", [(), ("feeds",), ("decisions", "feeds")])
async def test_without_the_scope_a_client_finds_nothing_and_is_recorded(
    world: World, scopes: tuple[str, ...]
) -> None:
    """SG-1: another scope is no reason to see who read what."""
    await register(world, "feeds", "decisions")
    client = token(world, *scopes)

    answers = [await client.ask(path.format(id=world.id())) for path in READABLE]

    assert [answer.status_code for answer in answers] == [404] * 3
    refused = await (await world.analyst()).items("/v1/events", type_="audit.refused")
    assert {event["actor"]["client_id"] for event in refused} == {"monitor"}
    assert len(refused) == 3


async def test_a_scope_that_was_taken_away_is_worth_nothing_in_an_old_token(world: World) -> None:
    """Design, "fresh or refused": a token says what was, the log what is."""
    await register(world, "audit.read", "feeds")
    client = token(world, "audit.read")
    assert (await client.ask("/v1/events")).status_code == 200

    await register(world, "feeds", version=2)

    assert (await client.ask("/v1/events")).status_code == 404


async def test_scope_covers_events_only(world: World) -> None:
    """SG-1, least privilege: sessions and alerts are for people who review them."""
    await register(world, "audit.read")
    client = token(world, "audit.read")

    answers = [await client.ask(path.format(id=world.id())) for path in NOT_THEIRS]

    assert [answer.status_code for answer in answers] == [404] * 3


async def test_a_revoked_or_unknown_client_is_not_authenticated(world: World) -> None:
    """SG-3: the end of a registration ends its tokens."""
    await register(world, "audit.read")
    client = token(world, "audit.read")
    assert (await client.ask("/v1/events")).status_code == 200

    await register(world, version=2, revoke=True)

    assert (await client.ask("/v1/events")).status_code == 401
    assert (await token(world, "audit.read", name="nobody").ask("/v1/events")).status_code == 401


async def test_a_revocation_appended_first_makes_the_answer_to_a_client_stale(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Design, "fresh or refused": whatever was decided a moment before."""
    await register(world, "audit.read")
    client, append = token(world, "audit.read"), Log.append
    assert (await client.ask("/v1/events")).status_code == 200
    groups: list[Group] = []

    async def overtaken(log: Log, group: Group) -> int:
        if log is world.audit.runtime.log and not groups:
            groups.append(group)
            await end(world.authz, "monitor", "lost")
        return await append(log, group)

    monkeypatch.setattr(Log, "append", overtaken)
    answer = await client.ask("/v1/events")

    assert answer.status_code == 401
    assert groups[0].events[0].type == "audit.read"
    assert client_key("monitor") in groups[0].guards


async def test_cursor_of_a_client_is_its_own(world: World) -> None:
    """Contract: cursors are bound to caller and filter."""
    await register(world, "audit.read")
    await register(world, "audit.read", name="other")
    client, other = token(world, "audit.read"), token(world, "audit.read", name="other")

    cursor = (await client.ask("/v1/events", limit=1)).json()["next_cursor"]

    assert (await client.ask("/v1/events", limit=1, cursor=cursor)).status_code == 200
    assert (await other.ask("/v1/events", limit=1, cursor=cursor)).status_code == 422


async def test_who_is_refused_all_day_is_told_to_slow_down_and_appends_no_more(
    world: World,
) -> None:
    """Design: authenticated refusals have a budget per person, and per client."""
    nobody = await world.caller("school_office", await world.organisation("school"))
    analyst, now = await world.analyst(), world.clock.now()
    assert (await nobody.ask("/v1/events")).status_code == 404
    for _ in range(BURST - 1):
        world.audit.budget.spend(nobody.person.id, now)
    before = await world.audit.runtime.projector.head()

    slowed = await nobody.ask("/v1/events")

    assert (slowed.status_code, slowed.json()["code"]) == (429, "too_many_requests")
    assert int(slowed.headers["retry-after"]) >= 1
    assert await world.audit.runtime.projector.head() == before
    assert (await analyst.ask("/v1/events")).status_code == 200
