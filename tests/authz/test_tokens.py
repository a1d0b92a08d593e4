"""Tokens and the keys they are signed with (SG-2)."""

import base64
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.authz import events as e
from services.authz import seeding
from services.kernel.log import Group
from services.kernel.runtime import Installation
from tests.authz.door import HOME, Door, Somebody, opened, two_opened
from tests.conftest import Clock

CLIENT_SECRET = base64.urlsafe_b64encode(b"s" * 32).decode()


@pytest.fixture
async def door(installation: Installation, clock: Clock) -> AsyncIterator[Door]:
    async with opened(installation, clock) as door:
        yield door


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
        added = await here.of_type(e.SIGNING_KEY_ADDED)
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


async def _client(door: Door, public_key: str | None = None) -> None:
    runtime = door.authz.runtime
    await runtime.keys.load(seeding.client_keys("feeds-1"), create=True)
    events = seeding.client_events(
        runtime.keys,
        runtime.effects,
        client_id="feeds-1",
        name="Enrolment feed",
        scopes=("feeds", "decisions"),
        secret=CLIENT_SECRET,
        recorded_at=door.clock.now(),
        public_key=public_key,
    )
    await door.append(Group(events))


async def test_client_gets_a_token_with_its_scopes(door: Door) -> None:
    """RFC 6749, 4.4."""
    await _client(door)

    answer = await door.at(HOME).post(
        "/v1/token",
        data={"grant_type": "client_credentials", "scope": "feeds"},
        auth=("feeds-1", CLIENT_SECRET),
    )

    claims = jwt.decode(answer.json()["access_token"], options={"verify_signature": False})
    assert answer.status_code == 200
    assert answer.json()["token_type"] == "Bearer"
    assert answer.json()["scope"] == "feeds"
    assert claims["client_id"] == "feeds-1"
    (issued,) = await door.of_type(e.CLIENT_TOKEN_ISSUED)
    assert issued.actor.client_id == "feeds-1"


async def test_client_token_shows_no_profile(door: Door) -> None:
    """Least privilege (SG-1): a client is nobody's self."""
    await _client(door)
    answer = await door.at(HOME).post(
        "/v1/token", data={"grant_type": "client_credentials"}, auth=("feeds-1", CLIENT_SECRET)
    )

    assert await _refused(door, answer.json()["access_token"])


@pytest.mark.parametrize("auth", [("feeds-1", "wrong"), ("nobody", CLIENT_SECRET), ("", "")])
async def test_client_without_proof_is_refused(door: Door, auth: tuple[str, str]) -> None:
    """RFC 6749, 5.2."""
    await _client(door)

    answer = await door.at(HOME).post(
        "/v1/token", data={"grant_type": "client_credentials"}, auth=auth
    )

    assert answer.status_code == 401
    assert answer.json()["code"] == "invalid_client"
    assert answer.json()["error"] == "invalid_client"
    assert answer.headers["www-authenticate"].startswith("Basic")


async def test_client_gets_no_scope_it_is_not_registered_for(door: Door) -> None:
    """SG-1."""
    await _client(door)

    answer = await door.at(HOME).post(
        "/v1/token",
        data={"grant_type": "client_credentials", "scope": "feeds audit.read"},
        auth=("feeds-1", CLIENT_SECRET),
    )

    assert answer.status_code == 400
    assert answer.json()["error"] == "invalid_scope"
    (refused,) = await door.of_type(e.REFUSED)
    assert refused.actor.client_id == "feeds-1"


def _assertion(door: Door, key: Ed25519PrivateKey, **changed: object) -> str:
    claims = {
        "iss": "feeds-1",
        "sub": "feeds-1",
        "aud": "http://authz.test/v1/token",
        "exp": int(door.clock.now().timestamp()) + 60,
        "jti": "one",
        **changed,
    }
    return jwt.encode(claims, key, "EdDSA")


async def _assert(door: Door, assertion: str) -> int:
    answer = await door.at(HOME).post(
        "/v1/token",
        data={
            "grant_type": "client_credentials",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": assertion,
        },
    )
    return answer.status_code


async def test_signed_assertion_proves_a_client_once(door: Door) -> None:
    """RFC 7523, 3."""
    key = Ed25519PrivateKey.generate()
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    await _client(door, pem.decode())
    assertion = _assertion(door, key)

    first, again = await _assert(door, assertion), await _assert(door, assertion)

    assert (first, again) == (200, 401)


async def test_assertion_of_another_key_audience_or_time_is_refused(door: Door) -> None:
    """RFC 7523, 3."""
    key = Ed25519PrivateKey.generate()
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    await _client(door, pem.decode())
    now = int(door.clock.now().timestamp())
    wrong = (
        _assertion(door, Ed25519PrivateKey.generate()),
        _assertion(door, key, aud="https://elsewhere.example/token"),
        _assertion(door, key, exp=now - 1),
        _assertion(door, key, exp=now + 86_400),
        _assertion(door, key, iss="somebody"),
        "not.a.jwt",
    )

    statuses = [await _assert(door, assertion) for assertion in wrong]

    assert statuses == [401] * 6


async def test_no_event_holds_a_client_secret(door: Door) -> None:
    """SG-18."""
    await _client(door)
    await door.at(HOME).post(
        "/v1/token", data={"grant_type": "client_credentials"}, auth=("feeds-1", CLIENT_SECRET)
    )

    bodies = b"".join(r.body for r in await door.log())
    assert CLIENT_SECRET.encode() not in bodies
    assert json.dumps(CLIENT_SECRET).encode() not in bodies
