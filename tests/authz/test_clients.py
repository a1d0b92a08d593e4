"""Service clients and the proofs they give (RFC 6749, RFC 7523)."""

import asyncio
import base64
import json
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.authz import events as e
from services.authz import passwords, seeding
from services.authz.client_events import CLIENT_TOKEN_ISSUED
from services.authz.session_events import LOGIN_FAILED
from services.kernel.groups import Group
from services.kernel.runtime import Installation
from services.kernel.settings import Settings
from tests.authz.door import HOME, Door, opened
from tests.conftest import Clock

CLIENT_SECRET = base64.urlsafe_b64encode(b"s" * 32).decode()


async def _refused(door: Door, token: str) -> bool:
    answer = await door.get("/v1/me", token)
    return answer.status_code == 401 and answer.json()["code"] == "unauthenticated"


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
    (issued,) = await door.of_type(CLIENT_TOKEN_ISSUED)
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


@pytest.mark.parametrize(
    ("sent", "kind", "detail"),
    [
        ("", "x-www-form-urlencoded", "grant_type: missing"),
        ("scope=feeds", "x-www-form-urlencoded", "grant_type: missing"),
        ("grant_type=", "x-www-form-urlencoded", "grant_type: missing"),
        (f"grant_type={'a' * 101}", "x-www-form-urlencoded", "grant_type: string_too_long"),
        (
            "grant_type=client_credentials&grant_type=client_credentials",
            "x-www-form-urlencoded",
            "a parameter comes twice",
        ),
        (
            "grant_type=client_credentials&scope=feeds&scope=decisions",
            "x-www-form-urlencoded",
            "a parameter comes twice",
        ),
        ('{"grant_type":"client_credentials"}', "json", "grant_type: missing"),
        ('{"a":1,"a":2}', "json", "a name comes twice in one object of the body"),
    ],
)
async def test_a_token_request_that_is_malformed_is_told_so_as_oauth_and_as_everywhere(
    door: Door, sent: str, kind: str, detail: str
) -> None:
    """RFC 6749, 3.2 and 5.2; contract: 422 malformed. Clients go by `error`, others by `code`."""
    await _client(door)
    answer = await door.at(HOME).post(
        "/v1/token",
        content=sent,
        headers={"content-type": f"application/{kind}"},
        auth=("feeds-1", CLIENT_SECRET),
    )
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    told = answer.json()
    assert (told["error"], told["code"], told["detail"]) == ("invalid_request", "malformed", detail)
    assert told["request_id"] == answer.headers["x-request-id"]
    assert await door.of_type(CLIENT_TOKEN_ISSUED) == []


async def test_a_multipart_form_is_no_token_request(door: Door) -> None:
    """RFC 6749, 4.4.2."""
    await _client(door)
    form = {"grant_type": (None, "client_credentials")}
    answer = await door.at(HOME).post("/v1/token", files=form, auth=("feeds-1", CLIENT_SECRET))
    assert (answer.status_code, answer.json()["error"]) == (422, "invalid_request")
    assert await door.of_type(CLIENT_TOKEN_ISSUED) == []


async def test_another_grant_is_refused_as_such(door: Door) -> None:
    """RFC 6749, 5.2."""
    await _client(door)
    answer = await door.at(HOME).post(
        "/v1/token", data={"grant_type": "password"}, auth=("feeds-1", CLIENT_SECRET)
    )
    assert answer.status_code == 400
    assert answer.json()["error"] == answer.json()["code"] == "unsupported_grant_type"


async def test_a_client_that_must_wait_is_told_an_error_too(door: Door) -> None:
    """RFC 8628, 3.5: below 500, a client takes for a token what has no `error`."""
    await _client(door)
    *_, answer = [
        await door.at(HOME).post(
            "/v1/token", data={"grant_type": "client_credentials"}, auth=("feeds-1", "wrong")
        )
        for _ in range(6)
    ]
    assert (answer.status_code, answer.json()["error"]) == (429, "slow_down")
    assert answer.json()["code"] == "too_many_requests"
    assert int(answer.headers["retry-after"]) >= 1


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


@pytest.mark.parametrize("header", [f"Bearer {CLIENT_SECRET}", "Basic", "basic", ""])
async def test_client_that_says_who_it_is_in_two_ways_at_once_is_malformed(
    door: Door, header: str
) -> None:
    """RFC 6749, 2.3: one method a request; which of two counted would be anybody's guess."""
    key = Ed25519PrivateKey.generate()
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    await _client(door, pem.decode())
    if header == "Basic":
        header += " " + base64.b64encode(f"feeds-1:{CLIENT_SECRET}".encode()).decode()
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": _assertion(door, key),
    }

    both = await door.at(HOME).post("/v1/token", data=form, headers={"authorization": header})
    alone = await _assert(door, form["client_assertion"])

    assert (both.status_code, both.json()["error"]) == (422, "invalid_request")
    assert alone == 200  # nothing was tried, so the assertion still serves
    assert len(await door.of_type(CLIENT_TOKEN_ISSUED)) == 1


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


def _pem(key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    public = key.public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


async def test_assertion_by_another_algorithm_than_the_keys_is_a_failed_attempt(
    door: Door,
) -> None:
    """RFC 8725, 3.1: whatever the header says; counted and recorded, and no fault of ours."""
    await _client(door, _pem(Ed25519PrivateKey.generate()))
    claims = jwt.decode(
        _assertion(door, Ed25519PrivateKey.generate()), options={"verify_signature": False}
    )
    curve, other_curve = (ec.generate_private_key(c) for c in (ec.SECP256R1(), ec.SECP384R1()))
    signed = (
        jwt.encode(claims, curve, "ES256"),
        jwt.encode(claims, other_curve, "ES384"),
        jwt.encode(claims, rsa.generate_private_key(65537, 2048), "RS256"),
        jwt.encode(claims, "a secret of thirty-two bytes, or more", "HS256"),
        jwt.encode(claims, "", "none"),
    )

    statuses = [await _assert(door, assertion) for assertion in signed]

    assert statuses == [401] * 5
    assert [f.data["stage"] for f in await door.of_type(LOGIN_FAILED)] == ["client"] * 5
    assert await _assert(door, signed[0]) == 429


@pytest.mark.parametrize("kind", ["ES256", "RS256"])
async def test_assertion_by_the_registered_keys_algorithm_is_taken(door: Door, kind: str) -> None:
    """RFC 7523, 3: a key on the curve P-256, and an RSA key, like an Ed25519 one."""
    key = (
        ec.generate_private_key(ec.SECP256R1())
        if kind == "ES256"
        else rsa.generate_private_key(65537, 2048)
    )
    await _client(door, _pem(key))
    claims = jwt.decode(
        _assertion(door, Ed25519PrivateKey.generate()), options={"verify_signature": False}
    )

    assert await _assert(door, jwt.encode(claims, key, kind)) == 200


@pytest.mark.parametrize(
    ("claim", "ahead_s", "status"),
    [("nbf", 30, 200), ("iat", 30, 200), ("nbf", 31, 401), ("iat", 31, 401), ("exp", 631, 401)],
)
@pytest.mark.parametrize("hours", [0, 5])
async def test_assertion_may_be_half_a_minute_ahead_of_the_services_own_clock(
    door: Door, claim: str, ahead_s: int, status: int, hours: int
) -> None:
    """RFC 7523, 3 (4 to 6): no clock but the service's own is asked."""
    door.clock.advance(timedelta(hours=hours))
    key = Ed25519PrivateKey.generate()
    await _client(door, _pem(key))
    moment = int(door.clock.now().timestamp()) + ahead_s
    changed: dict[str, Any] = {claim: moment}

    assert await _assert(door, _assertion(door, key, **changed)) == status


async def test_assertion_meant_for_another_server_is_refused_whatever_host_was_asked(
    installation: Installation, clock: Clock
) -> None:
    """RFC 7523, 3 (3): who received it cannot choose the audience by naming a host."""
    settings = Settings(authz_url="https://casewarden.example/authz/")
    async with opened(installation, clock, settings) as door:
        key = Ed25519PrivateKey.generate()
        await _client(door, _pem(key))
        elsewhere = _assertion(door, key, aud="http://authz.test/v1/token", jti="theirs")
        right = "https://casewarden.example/authz/v1/token"

        statuses = [
            await _assert(door, elsewhere),
            await _assert(door, _assertion(door, key, aud=right, jti="ours")),
            await _assert(door, _assertion(door, key, aud="casewarden", jti="issuer")),
        ]

    assert statuses == [401, 200, 200]


async def test_unknown_client_takes_as_long_as_a_wrong_secret(
    installation: Installation, clock: Clock
) -> None:
    """RFC 6749, 10: time does not tell which clients exist either."""
    loop, seconds = asyncio.get_running_loop(), []
    async with opened(installation, clock, effort=passwords.FULL) as door:
        await _client(door)
        for client_id in ("feeds-1", "nobody"):
            started = loop.time()
            answer = await door.at(HOME).post(
                "/v1/token", data={"grant_type": "client_credentials"}, auth=(client_id, "wrong")
            )
            seconds.append(loop.time() - started)
            assert answer.status_code == 401

    assert min(seconds) >= passwords.FULL.floor_s
