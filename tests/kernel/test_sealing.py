"""Sealed values: opened only where, as and for whom they were sealed; gone when the keys are."""

import asyncio
import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.authz import events as authz
from services.authz.directory_fold import Directory
from services.kernel import keystore
from services.kernel.effects import Effects
from services.kernel.epochs import EpochKeys
from services.kernel.errors import Unavailable
from services.kernel.event_types import Registry
from services.kernel.events import Service
from services.kernel.http import Call
from services.kernel.keystore import KeyStore
from services.kernel.origins import Origins
from services.kernel.runtime import Installation, open_runtime
from services.kernel.sealing import (
    Compartment,
    DataKey,
    KeyNotLoaded,
    KeyRef,
    SealBroken,
    Sealed,
    packed,
    period_subject,
    unpacked,
)
from tests.conftest import Clock, Connect, Pools, address
from tests.kernel.given import NOON

EVENT = UUID(int=1)


@pytest.fixture
async def keys(pools: Pools, installation: Installation) -> KeyStore:
    return await store(pools, installation, Service.CASES)


async def store(pools: Pools, installation: Installation, service: Service) -> KeyStore:
    effects = installation.effects
    pool = await pools(service, keys=True)
    return KeyStore(pool, EpochKeys(installation.data / "keys", effects), effects)


def student(compartment: Compartment = Compartment.RECORD) -> KeyRef:
    return KeyRef(uuid4(), compartment)


async def test_it_opens_for_the_same_event_field_compartment_and_subject_only(
    keys: KeyStore,
) -> None:
    """SG-6: moved elsewhere a sealed value does not open."""
    ref = student()
    others = [KeyRef(ref.subject, Compartment.SENSITIVE), student()]
    await keys.load([ref, *others], create=True)
    sealed = keys.seal(ref, EVENT, "note", "Ōtāhuhu")
    assert keys.open(ref, EVENT, "note", sealed) == "Ōtāhuhu"
    assert keys.open_sealed(Sealed(ref, EVENT, "note", sealed)) == "Ōtāhuhu"
    for wrong in others:
        with pytest.raises(SealBroken):
            keys.open(wrong, EVENT, "note", sealed)
    with pytest.raises(SealBroken):
        keys.open(ref, UUID(int=2), "note", sealed)
    with pytest.raises(SealBroken):
        keys.open(ref, EVENT, "notes", sealed)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.data())
def test_what_was_tampered_with_does_not_open(data: st.DataObject) -> None:
    ref, keys = student(), loaded()
    keys.cache(ref)
    sealed = keys.store.seal(ref, EVENT, "note", data.draw(st.text(max_size=40)))
    label, box = sealed[:10], bytearray(base64.b64decode(sealed[10:]))
    box[data.draw(st.integers(0, len(box) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(SealBroken):
        keys.store.open(ref, EVENT, "note", label + base64.b64encode(box).decode())
    place = data.draw(st.integers(0, len(label) - 1))
    letter = data.draw(st.characters(codec="ascii").filter(lambda c: c != label[place]))
    with pytest.raises(SealBroken):
        keys.store.open(ref, EVENT, "note", label[:place] + letter + sealed[place + 1 :])


class loaded:  # noqa: N801 - reads as what it is
    """A key store without a database, for what needs none."""

    def __init__(self) -> None:
        effects = Effects()
        self.store = KeyStore(None, EpochKeys(Path("unused"), effects), effects)  # type: ignore[arg-type] # never asked

    def cache(self, ref: KeyRef) -> None:
        self.store._cache[ref] = DataKey(bytes(32), ref.compartment)


@given(st.text(max_size=40))
def test_what_is_packed_opens_like_what_was_sealed(text: str) -> None:
    ref, keys = student(), loaded()
    keys.cache(ref)
    sealed = keys.store.seal(ref, EVENT, "note", text)
    assert keys.store.key(ref).open_packed(EVENT.bytes, "note", packed(sealed)) == text
    assert unpacked(packed(sealed)) == sealed


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_packing_is_total_and_what_was_never_sealed_opens_nowhere(text: str) -> None:
    ref, keys = student(), loaded()
    keys.cache(ref)
    for odd in (text, f"A256GCM.1.{text}", f"A256GCM.2.{text}"):
        assert unpacked(packed(odd)) == odd
        with pytest.raises(SealBroken):
            keys.store.key(ref).open_packed(EVENT.bytes, "note", packed(odd))


@pytest.mark.parametrize("text", ["", "A256GCM", "A256GCM.1.", "A256GCM.1.AAAA", "x.1.AAAA", "é"])
def test_what_was_never_sealed_does_not_open(text: str) -> None:
    ref, keys = student(), loaded()
    keys.cache(ref)
    with pytest.raises(SealBroken):
        keys.store.open(ref, EVENT, "note", text)


async def test_the_same_text_is_sealed_differently_every_time(keys: KeyStore) -> None:
    ref = student()
    await keys.load([ref], create=True)
    assert len({keys.seal(ref, EVENT, "note", "same") for _ in range(20)}) == 20


async def test_without_its_key_nothing_is_sealed_or_opened(keys: KeyStore) -> None:
    ref = student()
    await keys.load([ref])
    assert not keys.has(ref)
    with pytest.raises(SealBroken):
        keys.seal(ref, EVENT, "note", "text")
    with pytest.raises(SealBroken):
        keys.open(ref, EVENT, "note", "A256GCM.1.AAAA")


async def test_a_key_that_is_not_loaded_is_not_taken_for_destroyed(
    keys: KeyStore, pools: Pools, installation: Installation
) -> None:
    """Else its text would be shown as lost, and an edit would write the loss back."""
    ref, never = student(), student()
    await keys.load([ref], create=True)
    sealed = keys.seal(ref, EVENT, "note", "text")
    fresh = await store(pools, installation, Service.CASES)
    for wanted in (ref, never):
        with pytest.raises(KeyNotLoaded):
            fresh.open(wanted, EVENT, "note", sealed)
        with pytest.raises(KeyNotLoaded):
            fresh.seal(wanted, EVENT, "note", "text")
    assert issubclass(KeyNotLoaded, Unavailable)
    await fresh.load([ref, never])
    assert fresh.open(ref, EVENT, "note", sealed) == "text"
    with pytest.raises(SealBroken):
        fresh.open(never, EVENT, "note", sealed)


async def test_a_key_that_was_absent_is_found_once_it_is_made(
    keys: KeyStore, pools: Pools, installation: Installation
) -> None:
    ref, other = student(), await store(pools, installation, Service.CASES)
    await keys.load([ref])
    await other.load([ref], create=True)
    await keys.load([ref])
    sealed = other.seal(ref, EVENT, "note", "text")
    assert keys.open(ref, EVENT, "note", sealed) == "text"


async def test_what_was_used_last_stays_opened(
    keys: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keystore, "_CACHE_KEYS", 4)
    used, also_used, *others = refs = [student() for _ in range(4)]
    await keys.load(refs, create=True)
    sealed = keys.seal(used, EVENT, "note", "text")
    for _ in range(3):
        await keys.load([used, also_used])
        assert keys.open(used, EVENT, "note", sealed) == "text"
        await keys.load([student()], create=True)
    assert keys.has(used)
    assert keys.has(also_used)
    assert not any(keys.has(ref) for ref in others)


async def test_a_load_leaves_all_it_was_asked_for_in_reach(
    keys: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what was opened before it, and more at once than are kept otherwise."""
    monkeypatch.setattr(keystore, "_CACHE_KEYS", 4)
    old = student()
    await keys.load([old], create=True)
    wanted = [old, *(student() for _ in range(9))]
    await keys.load(wanted, create=True)
    assert all(keys.has(ref) for ref in wanted)
    await keys.load([student()], create=True)
    assert len(keys._cache) == 4


async def test_loads_beside_each_other_do_not_take_keys_from_each_other_unseen(
    keys: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keystore, "_CACHE_KEYS", 4)
    shared = student()

    async def load_and_use() -> None:
        for _ in range(10):
            refs = [shared, *(student() for _ in range(3))]
            await keys.load(refs, create=True)
            assert all(keys.has(ref) for ref in refs)

    await asyncio.gather(*(load_and_use() for _ in range(4)))


async def test_origins_are_sealed_however_many_keys_were_loaded_since(
    pools: Pools, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The month's key is like any other: it makes room, and comes back."""
    monkeypatch.setattr(keystore, "_CACHE_KEYS", 4)
    keys = await store(pools, installation, Service.CASES)
    origins, call = Origins(keys, installation.effects), Call("r", "192.0.2.1", "curl")
    await origins.seal(EVENT, call, None)
    await keys.load([student() for _ in range(8)], create=True)
    ref = KeyRef(period_subject("origin", installation.effects.now()), Compartment.ORIGIN)
    assert not keys.has(ref)
    origin = await origins.seal(EVENT, call, None)
    assert origin.sealed
    assert "192.0.2.1" in keys.open(ref, EVENT, "origin", origin.sealed)


async def test_a_key_made_by_many_at_once_is_one_key(
    pools: Pools, installation: Installation, connect: Connect
) -> None:
    ref = student()
    stores = [await store(pools, installation, Service.CASES) for _ in range(6)]
    await asyncio.gather(*(each.load([ref], create=True) for each in stores))
    sealed = [each.seal(ref, EVENT, "note", "text") for each in stores]
    for each in stores:
        assert {each.open(ref, EVENT, "note", text) for text in sealed} == {"text"}
    owner = await connect(None, keys=True)
    assert await owner.fetchval("select count(*) from keys.data_key") == 1
    assert len(list((installation.data / "keys").iterdir())) == 1


async def test_the_store_is_useless_without_the_file_of_its_epoch(
    keys: KeyStore, pools: Pools, installation: Installation, connect: Connect
) -> None:
    """A backup of the key database alone opens nothing."""
    ref = student()
    await keys.load([ref], create=True)
    sealed = keys.seal(ref, EVENT, "note", "text")
    wrapped = await (await connect(None, keys=True)).fetchval("select wrapped from keys.data_key")
    (file,) = (installation.data / "keys").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert len(wrapped) == 12 + 32 + 16
    file.unlink()
    thief = await store(pools, installation, Service.CASES)
    with pytest.raises(KeyNotLoaded):
        await thief.load([ref])
    with pytest.raises(KeyNotLoaded):
        thief.open(ref, EVENT, "note", sealed)
    with pytest.raises(KeyNotLoaded):  # rather than make an epoch key of its own
        await thief.load([student()], create=True)
    with pytest.raises(KeyNotLoaded):
        await rotate(installation)
    assert not list((installation.data / "keys").iterdir())


async def test_a_wrapped_key_moved_to_another_row_does_not_open(
    keys: KeyStore, pools: Pools, installation: Installation, connect: Connect
) -> None:
    mine, yours = student(), student()
    await keys.load([mine, yours], create=True)
    owner = await connect(None, keys=True)
    await owner.execute(
        "update keys.data_key set wrapped = (select wrapped from keys.data_key where subject = $1)",
        mine.subject,
    )
    with pytest.raises(SealBroken):
        await (await store(pools, installation, Service.CASES)).load([yours])


def epoch_end(clock: Clock) -> datetime:
    """Return when the epoch that is now ends."""
    epoch = timedelta(days=30)
    return (
        datetime.fromtimestamp(0, UTC)
        + ((clock.now().timestamp() // epoch.total_seconds()) + 1) * epoch
    )


async def rotate(installation: Installation) -> list[str]:
    """Rewrap as the owner of the key store does."""
    pool = await asyncpg.create_pool(address(installation, None, keys=True), min_size=0, max_size=1)
    assert pool is not None
    effects = installation.effects
    async with pool:
        return await KeyStore(
            pool, EpochKeys(installation.data / "keys", effects), effects
        ).rewrap()


async def test_rewrapping_keeps_the_living_and_destroys_the_old_epoch(
    keys: KeyStore, pools: Pools, installation: Installation, connect: Connect, clock: Clock
) -> None:
    """Who was deleted from the store is gone for good once the epoch's key is destroyed."""
    living, gone = student(), student()
    await keys.load([living, gone], create=True)
    kept = keys.seal(living, EVENT, "note", "text")
    owner = await connect(None, keys=True)
    backup = await owner.fetch("select * from keys.data_key")
    old = {path.name for path in (installation.data / "keys").iterdir()}
    await owner.execute("delete from keys.data_key where subject = $1", gone.subject)

    clock.set(epoch_end(clock) + timedelta(hours=1))
    assert set(await rotate(installation)) == old

    fresh = await store(pools, installation, Service.CASES)
    await fresh.load([living, gone])
    assert fresh.open(living, EVENT, "note", kept) == "text"
    assert not fresh.has(gone)

    # Even with every row of the old backup there is nothing left to unwrap it with.
    await owner.execute("delete from keys.data_key")
    await owner.executemany(
        "insert into keys.data_key values ($1, $2, $3, $4)", [tuple(row) for row in backup]
    )
    thief = await store(pools, installation, Service.CASES)
    with pytest.raises(KeyNotLoaded):
        await thief.load([gone])


async def test_keys_read_just_before_they_were_wrapped_anew_are_read_again(
    keys: KeyStore,
    pools: Pools,
    installation: Installation,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A rotation beside requests fails none of them, and no process keeps the key it destroyed."""
    ref, effects = student(), installation.effects
    await keys.load([ref], create=True)
    sealed = keys.seal(ref, EVENT, "note", "text")
    clock.set(epoch_end(clock) + timedelta(hours=1))
    pool, epochs = (
        await pools(Service.CASES, keys=True),
        EpochKeys(installation.data / "keys", effects),
    )
    reader, fetch, read = KeyStore(pool, epochs, effects), pool.fetch, 0

    async def overtaken(query: str, *arguments: object) -> list[asyncpg.Record]:
        nonlocal read
        rows: list[asyncpg.Record] = await fetch(query, *arguments)
        read += 1
        if read == 1:
            assert await rotate(installation)
        return rows

    monkeypatch.setattr(pool, "fetch", overtaken)
    await reader.load([ref])
    assert reader.open(ref, EVENT, "note", sealed) == "text"
    assert read == 2
    kept = set(epochs._opened)
    clock.set(epoch_end(clock) + timedelta(hours=1))
    assert await rotate(installation)
    await reader.load([student()])
    assert kept
    assert not kept & set(epochs._opened)


async def test_a_service_at_rest_forgets_an_epoch_key_that_is_destroyed_and_who_went_with_it(
    installation: Installation, connect: Connect, clock: Clock
) -> None:
    """SG-16: nobody asks for a key, and yet what was disposed of leaves memory too."""
    living, gone = student(), student()
    service = await open_runtime(
        installation, Service.CASES, Registry(authz.TYPES), lambda _keys: [Directory("cases")]
    )
    try:
        await service.keys.load([living, gone], create=True)
        opened = set(service.keys._epochs._opened)
        owner = await connect(None, keys=True)
        await owner.execute("delete from keys.data_key where subject = $1", gone.subject)
        clock.set(epoch_end(clock) + timedelta(hours=1))
        assert await rotate(installation)
        assert service.keys.has(gone)
        service.start()
        async with asyncio.timeout(5):
            while service.keys.has(gone):
                await asyncio.sleep(0.01)
        assert opened
        assert not opened & set(service.keys._epochs._opened)
        assert service.keys.has(living)
    finally:
        await service.stop()


async def test_an_epoch_that_ended_within_the_hour_keeps_its_key(
    keys: KeyStore, pools: Pools, installation: Installation, clock: Clock
) -> None:
    """A process whose clock is slow may still wrap under it, after the rotation too."""
    before, late = student(), student()
    end = epoch_end(clock)
    await keys.load([before], create=True)
    clock.set(end + timedelta(minutes=59))
    assert await rotate(installation) == []

    clock.set(end - timedelta(minutes=1))  # what the slow clock tells
    await keys.load([late], create=True)
    sealed = keys.seal(late, EVENT, "note", "text")

    clock.set(end + timedelta(hours=1))
    assert len(await rotate(installation)) == 1
    fresh = await store(pools, installation, Service.CASES)
    await fresh.load([late])
    assert fresh.open(late, EVENT, "note", sealed) == "text"


async def test_a_role_cannot_rewrap_nor_destroy(keys: KeyStore, clock: Clock) -> None:
    """It sees its own compartments only: destroying the epoch would destroy the others' keys."""
    ref = student()
    await keys.load([ref], create=True)
    clock.advance(timedelta(days=31))
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await keys.rewrap()
    keys._cache.clear()
    await keys.load([ref])
    assert keys.has(ref)


async def test_another_services_compartment_is_as_if_it_did_not_exist(
    keys: KeyStore, pools: Pools, installation: Installation
) -> None:
    """SG-6: row security, not good manners, keeps the compartments apart."""
    authz = await store(pools, installation, Service.AUTHZ)
    ref = KeyRef(uuid4(), Compartment.CREDENTIAL)
    await authz.load([ref], create=True)
    assert authz.has(ref)
    await keys.load([ref])
    assert not keys.has(ref)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await keys.load([KeyRef(uuid4(), Compartment.CREDENTIAL)], create=True)


async def test_a_destroyed_key_is_told_and_leaves_what_is_kept_opened(
    keys: KeyStore, connect: Connect
) -> None:
    """SG-16: who is gone from the store is gone from memory, and nobody else is."""
    gone, living = student(), student()
    await keys.load([gone, living], create=True)
    owner = await connect(None, keys=True)
    await owner.execute("delete from keys.data_key where subject = $1", gone.subject)
    assert keys.has(gone)
    assert await keys.destroyed([gone, living]) == [gone]
    assert not keys.has(gone)
    assert keys.has(living)
    await keys.load([gone])
    assert not keys.has(gone)


def test_a_period_has_one_subject_a_month_and_kind() -> None:
    assert period_subject("origin", NOON) == period_subject("origin", NOON + timedelta(days=20))
    assert period_subject("origin", NOON) != period_subject("origin", NOON + timedelta(days=31))
    assert period_subject("origin", NOON) != period_subject("search", NOON)
