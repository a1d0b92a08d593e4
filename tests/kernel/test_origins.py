"""Where calls come from: sealed for one event, opened by those who may, forgotten with its key."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import pytest

from services.kernel.epochs import EpochKeys
from services.kernel.events import Event, Origin, Service
from services.kernel.http import Call
from services.kernel.keystore import KeyStore
from services.kernel.origins import UNKNOWN, Origins, Place, Places, network_of
from services.kernel.runtime import Installation
from tests.conftest import Clock, Connect, Pools

EVENT, SESSION = UUID(int=1), UUID(int=2)
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0"
HERE = Place("192.0.2.1", "Firefox on Linux", FIREFOX)
MIDNIGHT = datetime(2026, 4, 1, tzinfo=UTC)


async def store(pools: Pools, installation: Installation) -> KeyStore:
    effects = installation.effects
    pool = await pools(Service.AUTHZ, keys=True)
    return KeyStore(pool, EpochKeys(installation.data / "keys", effects), effects)


def event(origin: Origin, at: datetime) -> Event:
    """Return an event that came from there, dated so."""
    return Event(id=EVENT, type="authz.read", recorded_at=at, origin=origin, action="read")


@pytest.mark.parametrize("late", [timedelta(0), timedelta(seconds=59), timedelta(seconds=-59)])
async def test_what_was_sealed_is_opened_on_either_side_of_a_months_turn(
    pools: Pools, installation: Installation, clock: Clock, late: timedelta
) -> None:
    """AC-USE-1: an event may be sealed a moment before or after the time it carries."""
    clock.set(MIDNIGHT)
    sealed = await Origins(await store(pools, installation), installation.effects).seal(
        EVENT, Call("r-1", "192.0.2.1", FIREFOX), SESSION
    )
    places = Places(await store(pools, installation))
    came = event(sealed, MIDNIGHT + late)
    await places.load([came])
    assert places.of(came) == HERE
    assert (sealed.request_id, sealed.session_id) == ("r-1", SESSION)
    assert "192.0.2.1" not in (sealed.sealed or "")


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::1", "2001:db8:1:2::"),
        ("not an address", ""),
        (":::", ""),
    ],
)
def test_one_address_is_what_one_subscriber_has(address: str, network: str) -> None:
    """SG-4, SG-9: throttling, counted refusals and detection count by it."""
    assert network_of(address) == network


async def test_origin_of_another_event_or_of_a_destroyed_key_is_unknown(
    pools: Pools, installation: Installation, connect: Connect, clock: Clock
) -> None:
    """Staff origin data expires with its period key; nothing that reads it fails for that."""
    clock.set(MIDNIGHT)
    origins = Origins(await store(pools, installation), installation.effects)
    sealed = await origins.seal(EVENT, Call("r-1", "192.0.2.1", FIREFOX), None)
    came = event(sealed, MIDNIGHT)
    places = Places(await store(pools, installation))
    await places.load([came])
    assert places.of(msgspec.structs.replace(came, id=UUID(int=9))) == UNKNOWN
    assert places.of(event(Origin(), MIDNIGHT)) == UNKNOWN
    keys = await connect(None, keys=True)
    await keys.execute("delete from keys.data_key where compartment = 'origin'")
    later = Places(await store(pools, installation))
    await later.load([came])
    assert later.of(came) == UNKNOWN
