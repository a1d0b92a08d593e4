"""The order of refusals, over every route of the three services: who is not signed in is told that.

Whatever else is wrong with a request, its form says nothing to somebody without a session
(contract, "Checked in this order"). A body over the bound is the one exception: nothing reads it.
"""

import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from itertools import cycle, product
from typing import Final
from uuid import uuid4

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.app import House
from services.authz import access
from services.commands.openapi import documents
from services.kernel.bodies import LARGEST_BYTES, SMALL_BYTES
from services.kernel.events import Service
from services.kernel.runtime import Installation
from services.kernel.settings import Settings

JSON: Final = b"application/json"
#: content type and body of what is wrong in form, by what is wrong with it
BODIES: Final[Mapping[str, tuple[bytes | None, bytes]]] = {
    "nothing": (JSON, b""),
    "not UTF-8": (JSON, b'{"reason":"\xff"}'),
    "UTF-16": (JSON, '{"reason":"x"}'.encode("utf-16")),
    "another charset": (JSON + b"; charset=utf-7", b"{}"),
    "cut off": (JSON, b'{"reason":'),
    "nested deeply": (JSON, b"[" * 16_000),
    "nested deeply, and well": (JSON, b"[" * 8_000 + b"]" * 8_000),
    "a NUL": (JSON, b'{"reason":"a\\u0000b","username":"\\u0000"}'),
    "a raw NUL": (JSON, b'{"reason":"\x00"}'),
    "half a character": (JSON, b'{"reason":"\\ud800"}'),
    "a name twice": (JSON, b'{"reason":"x","reason":"y"}'),
    "no object": (JSON, b"7"),
    "a number without end": (JSON, b"1" * 5_000),
    "plain text": (b"text/plain", b"reason"),
    "a content type that is none": (b"a/b/c;;=", b"{}"),
    "no content type": (None, b"{}"),
    "a form": (b"application/x-www-form-urlencoded", b"reason=%ff&reason=%00"),
    "a form without boundary": (b"multipart/form-data", b"--x"),
    "a form cut off": (b"multipart/form-data; boundary=x", b"--x\r\ncontent-disposition"),
}
#: malformed everywhere else
WRONG: Final = {
    b"purpose": b"?",
    b"if-match": b"x",
    b"idempotency-key": b"\x7f",
    b"x-request-id": b"?",
}


@pytest.fixture
async def client(installation: Installation) -> AsyncIterator[httpx.AsyncClient]:
    house = await House.build(installation, Settings(data=installation.data), list(Service))
    try:
        await house.start()
        transport = httpx.ASGITransport(house)
        async with httpx.AsyncClient(transport=transport, base_url="http://casewarden") as opened:
            yield opened
    finally:
        await house.stop()


def _tokens() -> Iterator[dict[bytes, bytes]]:
    """Yield the ways of not being signed in, in turn, without end."""
    key, claims = Ed25519PrivateKey.generate(), {"sub": str(uuid4()), "iss": access.ISSUER}
    forged = jwt.encode(claims, key, access.ALGORITHM, {"kid": "k", "typ": access.TYPE})
    sent = (b"Bearer", b"Bearer x", b"Bearer a.b.c", b"Basic YTpi", b"Bearer \xff")
    told = (*sent, b"Bearer " + forged.encode())
    return cycle(({}, *({b"authorization": value} for value in told)))


#: how an operation says that it asks for no token: none at all, or a client's own proof
ANONYMOUS: Final[tuple[object, ...]] = ([], [{"client_secret_basic": []}, {}])


async def _operations() -> list[tuple[str, str, bool]]:
    """Return method, path and whether it asks for a token, of every operation there is."""
    return [
        (method, f"/{service}{path}", operation.get("security") not in ANONYMOUS)
        for service, document in (await documents()).items()
        for path, operations in json.loads(document)["paths"].items()
        for method, operation in operations.items()
    ]


async def test_no_route_tells_who_is_not_signed_in_what_is_wrong_with_a_request(
    client: httpx.AsyncClient,
) -> None:
    """401 before 422, and never a fault of ours; ids that are none in the path as well."""
    tokens = _tokens()
    for method, path, asks in await _operations():
        for (name, (content_type, body)), whole in product(BODIES.items(), (True, False)):
            told = {b"content-type": content_type} if content_type else {}
            answer = await client.request(
                method,
                re.sub(r"\{\w+\}", str(uuid4()) if whole else "no-id", path),
                params={} if whole else {"limit": "none", "unknown": "\x00"},
                content=body,
                headers=told | next(tokens) | ({} if whole else WRONG),
            )
            case = (method, path, name, whole, answer.status_code, answer.text)
            if asks:
                assert answer.status_code == 401, case
                assert answer.headers["content-type"] == "application/problem+json", case
                assert answer.json()["code"] == "unauthenticated", case
            else:
                assert answer.status_code < 500, case


async def test_a_method_that_a_path_has_not_is_told_with_those_it_has(
    client: httpx.AsyncClient,
) -> None:
    """RFC 9110, 15.5.6: of all routes of the path together, whoever asks and however."""
    operations = await _operations()
    paths = {re.sub(r"\{\w+\}", str(uuid4()), path) for _, path, _ in operations}
    expected = {
        path: {
            method.upper()
            for method, pattern, _ in operations
            if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", pattern), path)
        }
        for path in paths
    }
    for own in ("/", "/healthz", "/authz/metrics"):
        expected[own] = {"GET", "HEAD"}
    for path, allowed in expected.items():
        for method in {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"} - allowed:
            answer = await client.request(method, path)
            assert answer.status_code == 405, (method, path)
            assert set(answer.headers["allow"].split(", ")) == allowed, (method, path)
            assert answer.headers["content-type"] == "application/problem+json", (method, path)


async def test_a_body_over_the_bound_is_refused_unread_whoever_sends_it(
    client: httpx.AsyncClient,
) -> None:
    """Announced or found on the way: nobody's session is looked for on its account."""
    too_much = b"[" + b"0," * (LARGEST_BYTES // 2) + b"0]"

    async def parts() -> AsyncIterator[bytes]:
        for first in range(0, len(too_much), 65_536):
            yield too_much[first : first + 65_536]

    for method, path, _ in await _operations():
        filled = re.sub(r"\{\w+\}", str(uuid4()), path)
        for content in (too_much, parts()):
            answer = await client.request(
                method, filled, content=content, headers={b"content-type": JSON}
            )
            unread = answer.status_code in (401, 200) and not isinstance(content, bytes)
            assert answer.status_code == 413 or unread, (method, path, answer.text)


async def test_each_route_takes_as_large_a_body_as_it_says(client: httpx.AsyncClient) -> None:
    """RFC 9110, 15.5.14: that many bytes are looked at, and not one more."""
    for service, document in (await documents()).items():
        for path, operations in json.loads(document)["paths"].items():
            filled = f"/{service}" + re.sub(r"\{\w+\}", str(uuid4()), path)
            for method, operation in operations.items():
                said = operation["responses"].get("413", {"description": f"{SMALL_BYTES:,}"})
                most = int(re.sub(r"\D", "", said["description"]))
                for size, refused in ((most, False), (most + 1, True)):
                    answer = await client.request(
                        method, filled, content=b" " * size, headers={b"content-type": JSON}
                    )
                    assert (answer.status_code == 413) is refused, (method, path, size)


async def test_what_anybody_may_send_is_refused_in_few_words(client: httpx.AsyncClient) -> None:
    """Whoever is not signed in keeps nobody waiting: not every name they send is looked at."""
    bodies = [json.dumps(dict.fromkeys(map(str, range(n)), 1)) for n in (1_000, 30_000, 60_000)]
    bodies.append(json.dumps({"reason": "a" + "\u0301\u0316" * 9_999}, ensure_ascii=False))
    for path in ("/authz/v1/login", "/cases/v1/requests", "/authz/v1/token"):
        for body in bodies:
            answer = await client.post(path, content=body, headers={b"content-type": JSON})
            assert answer.status_code in (401, 413, 422), (path, answer.text)
            assert len(answer.content) < 1_000
