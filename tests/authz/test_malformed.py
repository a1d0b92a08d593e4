"""What no client of ours sends: refused as malformed or unauthenticated, never a fault (SG-9)."""

import base64

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.authz import seeding
from services.kernel.groups import Group
from tests.authz.door import HOME, Door

#: as JSON escapes: not ASCII, digits of another script, NUL, half a character
CODES = (r"\u00e9", r"\uff11\uff12\uff13\uff14\uff15\uff16", r"12345\u0000", r"\ud800")
ASSERTED = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


async def _raw(door: Door, path: str, body: str) -> int:
    headers = {"content-type": "application/json"}
    return (await door.at(HOME).post(path, content=body, headers=headers)).status_code


async def test_second_factor_that_is_not_ascii_is_malformed(door: Door) -> None:
    """SG-2."""
    token = await door.first_factor(await door.somebody())
    for method in ("totp", "recovery_code"):
        for code in CODES:
            body = f'{{"login_token":"{token}","method":"{method}","code":"{code}"}}'
            assert await _raw(door, "/v1/login/verify", body) == 422, (method, code)


async def test_enrolment_code_that_is_not_ascii_is_malformed(door: Door) -> None:
    """SG-2."""
    for code in CODES:
        body = f'{{"invitation":"x","code":"{code}"}}'
        assert await _raw(door, "/v1/enrolment/confirm", body) == 422, code


async def test_half_a_character_anywhere_in_a_login_is_malformed(door: Door) -> None:
    """JSON can say what UTF-8 cannot."""
    bad = r"\ud800"
    for path, body in (
        ("/v1/login", f'{{"username":"{bad}","password":"x"}}'),
        ("/v1/login", f'{{"username":"x","password":"{bad}"}}'),
        ("/v1/token/refresh", f'{{"refresh_token":"{bad}"}}'),
        ("/v1/enrolment", f'{{"invitation":"{bad}","password":"x"}}'),
    ):
        assert await _raw(door, path, body) == 422, body


async def test_login_token_of_a_key_that_cannot_be_one_is_no_login_token(door: Door) -> None:
    """RFC 8725, 3.10."""
    stranger = Ed25519PrivateKey.generate()
    for kid in ("a\x00b", "\ud800", "", "../key"):
        token = jwt.encode({"sub": "x"}, stranger, "EdDSA", {"kid": kid, "typ": "login+jwt"})
        assert (await door.verify(token, "123456")).status_code == 401


async def test_client_id_that_cannot_be_one_is_an_unknown_client(door: Door) -> None:
    """RFC 6749, 5.2."""
    for user in ("a%00b", "%ff", "caf%C3%A9", "a" * 101, "a%20b", ""):
        basic = base64.b64encode(f"{user}:secret".encode()).decode()
        answer = await door.at(HOME).post(
            "/v1/token",
            data={"grant_type": "client_credentials"},
            headers={"authorization": f"Basic {basic}"},
        )
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_client"), user


async def test_assertion_that_claims_what_cannot_be_is_refused(door: Door) -> None:
    """RFC 7523, 3: its subject before it is verified, every claim of it after."""
    key = Ed25519PrivateKey.generate()
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    runtime = door.authz.runtime
    await runtime.keys.load(seeding.client_keys("feeds-1"), create=True)
    events = seeding.client_events(
        runtime.keys,
        runtime.effects,
        client_id="feeds-1",
        name="Feeds",
        scopes=("feeds",),
        secret="s" * 32,
        recorded_at=door.clock.now(),
        public_key=pem,
    )
    await door.append(Group(events))
    good = {"iss": "feeds-1", "sub": "feeds-1", "aud": "http://authz.test/v1/token", "jti": "1"}
    soon = int(door.clock.now().timestamp()) + 60
    for wrong in (
        {"sub": "\ud800"},
        {"sub": "a\x00b"},
        {"jti": "\ud800"},
        {"exp": float("inf")},
        {"exp": float("nan")},
        {"exp": 1e30},
    ):
        assertion = jwt.encode({**good, "exp": soon, **wrong}, key, "EdDSA")
        answer = await door.at(HOME).post(
            "/v1/token",
            data={
                "grant_type": "client_credentials",
                "client_assertion_type": ASSERTED,
                "client_assertion": assertion,
            },
        )
        assert answer.status_code == 401, wrong
        door.clock.advance(door.authz.access_life)
        soon = int(door.clock.now().timestamp()) + 60


async def test_client_credentials_that_are_no_ascii_are_refused(door: Door) -> None:
    """Whoever sends them is nobody we know: 401, not a fault of ours."""
    answer = await door.at(HOME).post(
        "/v1/token",
        data={"grant_type": "client_credentials"},
        headers=[(b"authorization", b"Basic \xff")],
    )
    assert answer.status_code == 401
