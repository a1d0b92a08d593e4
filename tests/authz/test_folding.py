"""What authz folds, rebuilt from the log, equals what it folded as it went."""

from datetime import timedelta

from services.authz import seeding
from services.authz.client_events import CLIENT_REVOKED, client_key
from services.authz.events import OrganisationKind, Role
from services.authz.session_events import PASSWORD_ACCEPTED, SESSION_STARTED
from services.kernel.events import Event
from services.kernel.groups import Group
from services.kernel.runtime import Installation
from tests.authz.door import ELSEWHERE, Door, opened
from tests.authz.staffed import MATAI, TUI, Region, settled
from tests.conftest import Clock

SECRET = "a" * 43


async def _contents(region: Door | Region, *tables: str) -> dict[str, list[str]]:
    """Return every row of these tables of authz."""
    pool = region.authz.runtime.pool
    return {
        table: [
            row["line"]
            for row in await pool.fetch(f"select t::text as line from {table} t order by 1")
        ]
        for table in tables
    }


async def _client(door: Door, name: str) -> None:
    runtime = door.authz.runtime
    await runtime.keys.load(seeding.client_keys(name), create=True)
    events = seeding.client_events(
        runtime.keys,
        runtime.effects,
        client_id=name,
        name=name,
        scopes=("audit.read",),
        secret=SECRET,
        recorded_at=door.clock.now(),
    )
    await door.append(Group(events))


async def test_rebuilt_logins_and_directory_equal_the_live_ones(door: Door) -> None:
    """Design: a projection can be dropped and rebuilt."""
    leader, other = await door.somebody(), await door.somebody("hemi.walker", "Hemi", "Walker")
    gone = await door.log_in(leader)
    await door.post("/v1/token/refresh", {"refresh_token": gone["refresh_token"]})
    await door.post("/v1/logout", {}, token=gone["access_token"])
    await door.log_in(leader, ELSEWHERE)
    await door.log_in(other)
    await door.suspend(other)
    await _client(door, "monitor")
    await _client(door, "retired")
    revoked = Event(
        id=door.authz.runtime.effects.new_id(),
        type=CLIENT_REVOKED,
        stream="client:retired",
        version=2,
        recorded_at=door.clock.now(),
        touches=(client_key("retired"),),
        data={"client_id": "retired"},
    )
    await door.append(Group([revoked]))
    projector = door.authz.runtime.projector
    tables = [
        *("authz.account", "authz.login_session", "authz.refresh_token", "authz.client"),
        *("authz.person", "authz.assignment", "authz.organisation", "authz.session"),
        *("authz.signing_key", "authz.service_client", "authz.projection"),
    ]
    await door.authz.follower.reached(await projector.head())
    live = await _contents(door, *tables)
    assert all(live.values())

    await projector.rebuild()
    await projector.reached(await projector.head())

    assert await _contents(door, *tables) == live


async def test_rebuilt_administration_equals_the_live_one(installation: Installation) -> None:
    """Design: a projection can be dropped and rebuilt; a decision that served has served."""
    async with settled(installation) as region:
        for role in (Role.PRIMARY_CONTACT, Role.SCHOOL_OFFICE):
            assert (await region.decision("leader", "contact", role)).status_code == 201
        decided = (await region.decision("leader", "contact", Role.SCHOOL_OFFICE)).json()["id"]
        granted = await region.grant(
            "office", "contact", Role.SCHOOL_OFFICE, MATAI, decision_id=decided
        )
        assert granted.status_code == 201, granted.text
        tables = ("authz.access_decision", "authz.person_home", "authz.first_lead")
        kauri = await region.organisation("Kauri School", OrganisationKind.SCHOOL)
        for place, lead in ((TUI, Role.ISP_WORKFLOW_LEAD), ("Kauri School", Role.SCHOOL_LEADER)):
            assert (await region.grant("admin", "contact", lead, place)).status_code == 201
        body = {
            "username": "new.here",
            "given_name": "New",
            "family_name": "Here",
            "email": "new@school.example",
            "organisation_id": str(kauri),
        }
        made = await region.call("contact", "POST", "/v1/people", body)
        region.people["new"] = made.json()["id"]
        second = await region.grant("contact", "new", Role.SCHOOL_LEADER, "Kauri School")
        assert second.status_code == 201
        live = await _contents(region, *tables)
        assert [line.endswith(",t)") for line in live["authz.access_decision"]].count(True) == 1
        assert live["authz.person_home"]
        assert len(live["authz.first_lead"]) == 1

        await region.authz.runtime.projector.rebuild()

        assert await _contents(region, *tables) == live


async def test_rebuilt_activity_equals_the_live_one(door: Door) -> None:
    """Design: a projection can be dropped and rebuilt; AC-SEE-22."""
    leader, other = await door.somebody(), await door.somebody("hemi.walker", "Hemi", "Walker")
    token = (await door.log_in(leader))["access_token"]
    await door.log_in(other)
    await door.get("/v1/me", token)
    await door.get("/v1/me/activity", token)
    follower = door.authz.follower
    await follower.reached(await follower.head())
    live = await _contents(door, "authz.activity", "authz.projection")
    assert len(live["authz.activity"]) == 6

    await follower.rebuild()

    assert await _contents(door, "authz.activity", "authz.projection") == live


async def test_own_activity_goes_on_from_where_it_was(
    installation: Installation, clock: Clock
) -> None:
    """AC-SEE-22: a new process shows what was done before it."""
    async with opened(installation, clock) as first:
        leader = await first.somebody()
        await first.log_in(leader)
    clock.advance(timedelta(seconds=30))
    async with opened(installation, clock) as second:
        token = (await second.log_in(leader))["access_token"]
        items = (await second.get("/v1/me/activity", token)).json()["items"]
        rows = await second.authz.runtime.pool.fetchval("select count(*) from authz.activity")

    assert [item["type"] for item in items] == [SESSION_STARTED, PASSWORD_ACCEPTED] * 2
    assert rows >= 2
