"""Tokens and the keys they are signed with (SG-2)."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.app import House
from services.authz.session_events import SIGNING_KEY_ADDED
from services.kernel.aside import set_aside
from services.kernel.events import Service
from services.kernel.runtime import Installation
from services.kernel.settings import Settings
from tests.authz.door import HOME, Door, Somebody, owner, two_opened
from tests.conftest import Clock
from tests.emptied import emptied


async def _claims(door: Door, leader: Somebody) -> tuple[dict[str, Any], str, Ed25519PrivateKey]:
    """Return the claims of a good token, its ``kid``, and the key that signed it."""
    token = (await door.log_in(leader))["access_token"]
    claims = jwt.decode(token, options={"verify_signature": False})
    kid, key = await door.authz.signing_keys.current()
    return claims, kid, key


async def _refused(door: Door, token: str) -> bool:
    answer = await door.get("/v1/me", token)
    return answer.status_code == 401 and answer.json()["code"] == "unauthenticated"


async def test_own_signature_over_the_same_claims_is_accepted(door: Door) -> None:
    """The refusals below are due to what they change, and to nothing else."""
    claims, kid, key = await _claims(door, await door.somebody())

    token = jwt.encode(claims, key, "EdDSA", {"kid": kid, "typ": "at+jwt"})

    assert not await _refused(door, token)


async def test_token_without_a_signature_is_refused(door: Door) -> None:
    """RFC 8725, 3.1."""
    claims, kid, _ = await _claims(door, await door.somebody())

    token = jwt.encode(claims, "", "none", {"kid": kid, "typ": "at+jwt"})

    assert await _refused(door, token)


async def test_token_signed_with_the_public_key_as_a_secret_is_refused(door: Door) -> None:
    """RFC 8725, 3.1: algorithm confusion."""
    claims, kid, key = await _claims(door, await door.somebody())
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    for alg in ("HS256", "HS512"):
        token = jwt.encode(claims, raw * 2, alg, {"kid": kid, "typ": "at+jwt"})
        assert await _refused(door, token)


async def test_token_of_another_key_is_refused(door: Door) -> None:
    """RFC 8725, 3.10."""
    claims, kid, _ = await _claims(door, await door.somebody())
    stranger = Ed25519PrivateKey.generate()

    for name in (kid, "unknown", "../../etc/passwd", ""):
        token = jwt.encode(claims, stranger, "EdDSA", {"kid": name, "typ": "at+jwt"})
        assert await _refused(door, token)


@pytest.mark.parametrize(
    "change",
    [
        {"aud": "somebody-else"},
        {"iss": "somebody-else"},
        {"exp": 1},
        {"sub": "not-a-uuid"},
        {"sid": "not-a-uuid"},
        {"exp": None},
        {"aud": None},
        {"iss": None},
        {"jti": None},
        {"sid": None},
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_token_with_a_wrong_or_missing_claim_is_refused(
    shared_door: Door, change: dict[str, Any]
) -> None:
    """RFC 9068, 4."""
    door = shared_door
    claims, kid, key = await _claims(door, await door.somebody(f"aroha.{door.code()}"))
    right = jwt.encode(claims, key, "EdDSA", {"kid": kid, "typ": "at+jwt"})
    assert not await _refused(door, right)
    claims = {k: v for k, v in {**claims, **change}.items() if v is not None}

    token = jwt.encode(claims, key, "EdDSA", {"kid": kid, "typ": "at+jwt"})

    assert await _refused(door, token)


async def test_token_of_another_type_is_refused(door: Door) -> None:
    """RFC 8725, 3.11."""
    claims, kid, key = await _claims(door, await door.somebody())

    for typ in ("JWT", "login+jwt", ""):
        token = jwt.encode(claims, key, "EdDSA", {"kid": kid, "typ": typ})
        assert await _refused(door, token)


async def test_expired_token_is_refused_even_when_it_was_verified_before(door: Door) -> None:
    """SG-19."""
    leader = await door.somebody()
    token = (await door.log_in(leader))["access_token"]
    assert not await _refused(door, token)

    door.clock.advance(timedelta(seconds=300))

    assert await _refused(door, token)


async def test_two_processes_that_start_at_once_make_one_key(
    installation: Installation, clock: Clock
) -> None:
    """Expected versions of the stream decide."""
    async with two_opened(installation, clock) as (here, there):
        added = await here.of_type(SIGNING_KEY_ADDED)
        secrets = await here.authz.runtime.pool.fetchval(
            "select count(*) from authz.signing_secret"
        )

        assert len(added) == 1
        assert secrets == 1
        assert (await here.authz.signing_keys.current())[0] == (
            await there.authz.signing_keys.current()
        )[0]


async def test_private_key_is_sealed_and_in_no_event(door: Door) -> None:
    """SG-5."""
    _, key = await door.authz.signing_keys.current()
    raw = base64.b64encode(key.private_bytes_raw())

    sealed = await door.authz.runtime.pool.fetchval("select sealed from authz.signing_secret")

    assert raw.decode() not in sealed
    assert all(raw not in r.body for r in await door.log())


async def test_jwks_publishes_the_key_that_signs(door: Door) -> None:
    """RFC 8037."""
    kid, key = await door.authz.signing_keys.current()

    answer = await door.at(HOME).get("/.well-known/jwks.json")

    (published,) = answer.json()["keys"]
    x = base64.urlsafe_b64decode(published["x"] + "=")
    assert answer.headers["content-type"] == "application/json"
    assert (published["kty"], published["crv"], published["alg"]) == ("OKP", "Ed25519", "EdDSA")
    assert published["kid"] == kid
    assert x == key.public_key().public_bytes_raw()
    assert "d" not in published


async def test_new_key_signs_once_it_is_settled_and_the_old_one_still_counts(door: Door) -> None:
    """Rotation leaves nobody outside."""
    leader = await door.somebody()
    old_kid, _ = await door.authz.signing_keys.current()
    token = (await door.log_in(leader))["access_token"]

    await door.authz.signing_keys.rotate()
    at_once, _ = await door.authz.signing_keys.current()
    door.clock.advance(timedelta(seconds=5))
    settled, _ = await door.authz.signing_keys.current()

    assert at_once == old_kid
    assert settled != old_kid
    assert not await _refused(door, token)


async def test_retired_key_loses_its_private_half_and_its_place_in_the_jwks(door: Door) -> None:
    """A key that is retired signs nothing and is published no more."""
    old_kid, _ = await door.authz.signing_keys.current()
    door.clock.advance(timedelta(days=31))
    await door.authz.signing_keys.turn(timedelta(seconds=300))
    door.clock.advance(timedelta(hours=1))

    await door.authz.signing_keys.turn(timedelta(seconds=300))

    published = (await door.at(HOME).get("/.well-known/jwks.json")).json()["keys"]
    secrets = await door.authz.runtime.pool.fetch("select kid from authz.signing_secret")
    assert [k["kid"] for k in published] == [row["kid"] for row in secrets]
    assert len(published) == 1
    assert published[0]["kid"] != old_kid


@pytest.mark.parametrize(("made", "aside"), [(1, 1), (3, 2)])
async def test_a_key_whose_event_was_set_aside_is_unknown_and_another_follows(
    door: Door, made: int, aside: int
) -> None:
    """0013: 401 and not 503 for ever, whether or not that leaves a gap in the stream's versions."""
    leader = await door.somebody()
    token = (await door.log_in(leader))["access_token"]
    for _ in range(made - 1):
        await door.authz.signing_keys.rotate()
    positions = [r.position for r in await door.log() if r.event.type == SIGNING_KEY_ADDED]
    connection = await owner(door.authz.runtime.installation)
    for position in positions[:aside]:
        await set_aside(connection, door.clock.effects(), position, "INC-2026/14")
    await connection.close()
    await door.authz.runtime.projector.rebuild()
    door.authz.access.forget_keys()

    assert await _refused(door, token)
    assert await _refused(door, token)
    door.clock.advance(timedelta(days=31))
    async with asyncio.timeout(10):
        await door.authz.signing_keys.turn(timedelta(seconds=300))
    door.clock.advance(timedelta(seconds=5))
    token = (await door.log_in(leader))["access_token"]
    newest = str((await door.of_type(SIGNING_KEY_ADDED))[-1].data["kid"])
    assert jwt.get_unverified_header(token)["kid"] == newest
    assert not await _refused(door, token)


async def _kept(door: Door) -> set[str]:
    """Return the names of the keys whose private half is kept."""
    rows = await door.authz.runtime.pool.fetch("select kid from authz.signing_secret")
    return {row["kid"] for row in rows}


async def _sole_key_set_aside(door: Door) -> None:
    (position,) = [r.position for r in await door.log() if r.event.type == SIGNING_KEY_ADDED]
    connection = await owner(door.authz.runtime.installation)
    await set_aside(connection, door.clock.effects(), position, "INC-2026/14")
    await connection.close()
    await door.authz.runtime.projector.rebuild()


async def _private_half_lost(door: Door) -> None:
    await door.authz.runtime.pool.execute("delete from authz.signing_secret")


@pytest.mark.parametrize("lost", [_sole_key_set_aside, _private_half_lost])
async def test_where_no_key_is_fit_to_sign_whoever_logs_in_has_one_made_and_only_one(
    installation: Installation, clock: Clock, lost: Callable[[Door], Awaitable[None]]
) -> None:
    """0013: nobody waits for housekeeping, in however many processes they log in at once."""
    async with two_opened(installation, clock) as doors:
        people = [await doors[0].somebody(f"leader-{n}") for n in range(3)]
        await lost(doors[0])
        tokens = await asyncio.gather(*(door.first_factor(one) for one in people for door in doors))
        added = [str(event.data["kid"]) for event in await doors[0].of_type(SIGNING_KEY_ADDED)]
        in_use = {jwt.get_unverified_header(token)["kid"] for token in tokens}
        secrets = await _kept(doors[0])
        begun = await doors[1].verify(tokens[0], doors[1].code())

        assert (len(added), in_use) == (2, {added[-1]})
        assert added[-1] in secrets
        assert secrets <= set(added)
        assert begun.is_success, begun.text
        assert not await _refused(doors[0], begun.json()["access_token"])


async def test_keys_are_published_whole_or_not_at_all(door: Door) -> None:
    """RFC 7517: whoever takes the set keeps it, so one folded anew is waited for, or 503."""
    kid, _ = await door.authz.signing_keys.current()
    runtime = door.authz.runtime
    async with emptied(runtime.installation, runtime.projector):
        unfolded = await door.at(HOME).get("/.well-known/jwks.json")
    folded = await door.at(HOME).get("/.well-known/jwks.json")

    assert unfolded.status_code == 503
    assert [key["kid"] for key in folded.json()["keys"]] == [kid]


async def test_retired_key_is_refused_within_a_minute_whoever_asks_for_unknown_ones(
    door: Door,
) -> None:
    """RFC 8725, 3.10: what it signed was verified before, and is not remembered for that."""
    leader = await door.somebody()
    token = (await door.log_in(leader))["access_token"]
    kid, key = await door.authz.signing_keys.current()
    claims = jwt.decode(token, options={"verify_signature": False})
    forged = jwt.encode({**claims, "exp": 2**33}, key, "EdDSA", {"kid": kid, "typ": "at+jwt"})
    assert not await _refused(door, forged)
    await door.authz.signing_keys.rotate()
    await door.authz.signing_keys.retire(kid)

    for _ in range(3):
        door.clock.advance(timedelta(seconds=30))
        unknown = jwt.encode(claims, key, "EdDSA", {"kid": "unknown", "typ": "at+jwt"})
        assert await _refused(door, unknown)

    assert await _refused(door, forged)


async def test_access_token_is_refused_in_every_service_from_its_expiry_on(
    installation: Installation, clock: Clock
) -> None:
    """SG-19: by itself, whether it was verified there before or not; the session lives on."""
    settings = Settings(data=installation.data)
    house = await House.build(installation, settings, list(Service))
    await house.start()
    transport = httpx.ASGITransport(house)
    paths = ("/authz/v1/me", "/cases/v1/cases", "/audit/v1/alerts")
    async with httpx.AsyncClient(transport=transport, base_url="http://casewarden") as client:

        async def statuses(token: str) -> list[int]:
            bearer = {"authorization": f"Bearer {token}"}
            return [(await client.get(path, headers=bearer)).status_code for path in paths]

        door = Door(house._services[Service.AUTHZ], clock, settings)  # type: ignore[arg-type] # it is an Authz
        tokens = await door.log_in(await door.somebody())
        token = tokens["access_token"]
        expiry = jwt.decode(token, options={"verify_signature": False})["exp"]
        body = {"refresh_token": tokens["refresh_token"]}
        unused = (await door.post("/v1/token/refresh", body)).json()
        clock.set(datetime.fromtimestamp(expiry, UTC) - timedelta(seconds=1))
        before = await statuses(token)
        clock.advance(timedelta(seconds=1))
        at_expiry = await statuses(token) + await statuses(unused["access_token"])
        clock.advance(timedelta(seconds=1))
        after = await statuses(token) + await statuses(unused["access_token"])
        body = {"refresh_token": unused["refresh_token"]}
        fresh = (await door.post("/v1/token/refresh", body)).json()["access_token"]
        renewed = await statuses(fresh)
        await door.at(HOME).aclose()
    await house.stop()

    assert before == renewed
    assert before[:2] == [200, 200]
    assert 401 not in before
    assert at_expiry == after == [401] * 6
