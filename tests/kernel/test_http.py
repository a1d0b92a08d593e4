"""The edge of every service: what comes in is bounded, what goes out says no more than it may."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI, Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.types import Message
from structlog.testing import capture_logs

from services.kernel import boundary, errors
from services.kernel.bodies import SMALL_BYTES
from services.kernel.boundary import Boundary
from services.kernel.events import Service
from services.kernel.http import PURPOSES, call_of
from services.kernel.problems import install_errors
from services.kernel.texts import Body, Line

SECRET = "the password is swordfish"
JSON = {"content-type": "application/json"}


#: what was cancelled
GIVEN_UP: list[str] = []


class Note(Body):
    text: Line


def add_slow(app: FastAPI) -> None:
    @app.get("/closed")
    async def closed() -> None:
        raise errors.Unavailable

    @app.get("/restarting")
    async def restarting() -> None:
        raise errors.Unavailable(retry_after_s=30)

    @app.get("/stuck")
    async def stuck() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            GIVEN_UP.append("stuck")

    @app.get("/long")
    async def long() -> StreamingResponse:
        async def pieces() -> AsyncIterator[str]:
            for _ in range(4):
                await asyncio.sleep(0.05)
                yield "piece"

        return StreamingResponse(pieces())


def small_app() -> Boundary:
    app = FastAPI()
    install_errors(app)

    @app.post("/notes")
    async def note(body: Note) -> dict[str, str]:
        return {"text": body.text}

    @app.post("/raw")
    async def raw(request: Request) -> dict[str, int]:
        return {"bytes": len(await request.body())}

    @app.get("/call")
    async def call(request: Request) -> dict[str, Any]:
        found = call_of(request)
        return {"id": found.request_id, "agent": found.user_agent, "purpose": found.purpose}

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError(SECRET)

    @app.get("/lost")
    async def lost() -> None:
        raise asyncpg.ConnectionDoesNotExistError(SECRET)

    @app.get("/slow-down")
    async def slow_down() -> None:
        raise errors.TooManyRequests(retry_after_s=7)

    @app.get("/who")
    async def who() -> None:
        raise errors.Unauthenticated

    @app.get("/plain")
    async def plain() -> PlainTextResponse:
        return PlainTextResponse("plain")

    add_slow(app)
    return Boundary(app, Service.CASES)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=small_app(), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        yield client


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == status
    assert body["code"] == code
    assert body["type"] == f"urn:casewarden:problem:{code}"
    assert body["request_id"] == response.headers["x-request-id"]
    for said in (SECRET, "Traceback", "RuntimeError", "asyncpg", "/work", ".py"):
        assert said not in response.text
    return body


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut short"),
        pytest.param(b'{"text":"a\x00b"}', id="NUL byte"),
        pytest.param(b'{"text":"a\\u0000b"}', id="NUL escaped"),
        pytest.param(b'{"text":"\\ud800"}', id="lone surrogate"),
        pytest.param(b'{"text":"\xff\xfe"}', id="not UTF-8"),
        pytest.param('{"text":"a"}'.encode("utf-32")[:-1], id="broken UTF-32"),
        pytest.param(b"[" * 9_000, id="deep nesting, open"),
        pytest.param(b"[" * 4_500 + b"]" * 4_500, id="deep nesting, closed"),
        pytest.param(b'{"text":' * 1_000 + b"1" + b"}" * 1_000, id="deep objects"),
        pytest.param(b'{"text":"a","more":1}', id="unknown field"),
        pytest.param(b'{"text":1e999}', id="infinite number"),
        pytest.param(b'{"text":' + b"9" * 8_000 + b"}", id="number of 8,000 digits"),
        pytest.param(b'"text"', id="not an object"),
    ],
)
async def test_a_body_that_cannot_be_read_is_malformed_and_never_repeated(
    client: httpx.AsyncClient, body: bytes
) -> None:
    response = await client.post("/notes", content=body, headers=JSON)
    found = problem(response, 422, "malformed")
    assert "999" not in found["detail"]
    assert len(response.content) < 1_000


async def test_a_body_of_another_kind_is_malformed(client: httpx.AsyncClient) -> None:
    response = await client.post("/notes", content=b"text=a", headers={"content-type": "text/x"})
    problem(response, 422, "malformed")


@pytest.mark.parametrize("path", ["/notes", "/raw"])
async def test_a_body_announced_too_large_is_refused(client: httpx.AsyncClient, path: str) -> None:
    problem(
        await client.post(path, content=b" " * (SMALL_BYTES + 1), headers=JSON), 413, "too_large"
    )


@pytest.mark.parametrize("path", ["/notes", "/raw"])
async def test_a_body_too_large_that_announces_nothing_is_refused(
    client: httpx.AsyncClient, path: str
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(SMALL_BYTES // 100 + 1):
            yield b" " * 100

    problem(await client.post(path, content=pieces(), headers=JSON), 413, "too_large")


async def test_a_body_just_small_enough_is_read(client: httpx.AsyncClient) -> None:
    response = await client.post("/raw", content=b" " * SMALL_BYTES)
    assert response.json() == {"bytes": SMALL_BYTES}


@pytest.mark.parametrize("sent", ["a", "A-1", "x" * 64, "0191f7c0-0000-7000-8000-000000000000"])
async def test_a_plain_request_id_is_echoed(client: httpx.AsyncClient, sent: str) -> None:
    response = await client.get("/call", headers={"x-request-id": sent})
    assert response.headers["x-request-id"] == sent
    assert response.json()["id"] == sent


@pytest.mark.parametrize("sent", ["", "x" * 65, "a b", "a\tb", "ä", "<script>", "a;b", "a\n"])
async def test_any_other_request_id_is_replaced(client: httpx.AsyncClient, sent: str) -> None:
    headers = [(b"x-request-id", sent.encode("latin-1"))]
    response = await client.get("/call", headers=headers)
    assert response.headers["x-request-id"] not in {"", sent}
    assert len(response.headers["x-request-id"]) == 36


async def test_two_requests_without_an_id_get_two(client: httpx.AsyncClient) -> None:
    ids = {(await client.get("/plain")).headers["x-request-id"] for _ in range(2)}
    assert len(ids) == 2


async def test_an_unexpected_error_says_nothing_of_itself(client: httpx.AsyncClient) -> None:
    found = problem(await client.get("/broken"), 500, "internal")
    assert found["detail"] == found["title"] == "Internal error"


async def test_a_lost_database_is_unavailable(client: httpx.AsyncClient) -> None:
    problem(await client.get("/lost"), 503, "unavailable")


async def test_a_missing_page_and_a_wrong_method_are_problems(client: httpx.AsyncClient) -> None:
    problem(await client.get("/nowhere"), 404, "not_found")
    wrong = await client.delete("/notes")
    problem(wrong, 405, "method_not_allowed")
    assert wrong.headers["allow"] == "POST"


async def test_too_many_says_when_to_come_again(client: httpx.AsyncClient) -> None:
    response = await client.get("/slow-down")
    problem(response, 429, "too_many_requests")
    assert response.headers["retry-after"] == "7"


async def test_what_is_unavailable_says_when_to_come_again(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 9110, 10.2.3: whether a route, the database or the deadline says so; nothing else."""
    for path in ("/nowhere", "/who", "/broken"):
        assert "retry-after" not in (await client.get(path)).headers, path
    for path, seconds in (("/lost", "1"), ("/closed", "1"), ("/restarting", "30"), ("/stuck", "1")):
        if path == "/stuck":
            monkeypatch.setattr(boundary, "DEADLINE_S", 0.05)
        response = await client.get(path)
        problem(response, 503, "unavailable")
        assert response.headers["retry-after"] == seconds, path


async def test_unauthenticated_names_the_scheme(client: httpx.AsyncClient) -> None:
    response = await client.get("/who")
    problem(response, 401, "unauthenticated")
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/plain", "/broken", "/nowhere"])
async def test_no_answer_is_kept_or_sniffed(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path)
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-content-type-options"] == "nosniff"


async def test_a_purpose_is_one_of_the_published_codes(client: httpx.AsyncClient) -> None:
    """SG-15: why somebody looks is one of the codes."""
    for code in PURPOSES:
        assert (await client.get("/call", headers={"purpose": code})).json()["purpose"] == code
    problem(await client.get("/call", headers={"purpose": "curiosity"}), 422, "malformed")
    assert (await client.get("/call")).json()["purpose"] is None


async def test_a_user_agent_is_cut_at_300_characters(client: httpx.AsyncClient) -> None:
    found = (await client.get("/call", headers={"user-agent": "x" * 9_000})).json()
    assert found["agent"] == "x" * 300


async def test_what_is_not_answered_in_time_is_unavailable_and_given_up(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SG-8: one deadline, and nothing is shown after it."""
    monkeypatch.setattr(boundary, "DEADLINE_S", 0.05)
    GIVEN_UP.clear()
    with capture_logs() as logged:
        problem(await client.get("/stuck"), 503, "unavailable")
    assert GIVEN_UP == ["stuck"]
    (told,) = logged
    assert (told["event"], told["log_level"]) == ("deadline_passed", "warning")
    assert any("tests/kernel/test_http.py" in frame for frame in told["frames"])


async def test_an_answer_that_has_begun_is_not_cut_off(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boundary, "DEADLINE_S", 0.1)
    assert (await client.get("/long")).text == "piece" * 4


@pytest.mark.parametrize("path", ["/notes", "/raw"])
async def test_a_body_that_stops_coming_is_given_up(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(boundary, "_BODY_S", 0.1)

    async def dribbles() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.01)

    async with asyncio.timeout(5):
        response = await client.post(path, content=dribbles(), headers=JSON)
    problem(response, 408, "request_timeout")
    assert response.headers["connection"] == "close"


async def test_who_goes_away_before_their_body_came_is_no_error_of_ours() -> None:
    """Nobody fills the error log by hanging up."""
    pieces: list[Message] = [
        {"type": "http.request", "body": b"half", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        return pieces.pop(0)

    async def send(_: Message) -> None:
        """Tell nobody."""

    scope = {"type": "http", "method": "POST", "path": "/raw", "query_string": b"", "headers": []}
    with capture_logs() as logged:
        await small_app()(scope, receive, send)
    assert not pieces
    assert logged == []


async def test_an_error_of_ours_is_logged(client: httpx.AsyncClient) -> None:
    with capture_logs() as logged:
        problem(await client.get("/broken"), 500, "internal")
    assert [(one["event"], one["log_level"]) for one in logged] == [("unexpected_error", "error")]


async def test_a_body_may_take_longer_than_its_answer(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline is for what we do, and begins when the request was read."""
    monkeypatch.setattr(boundary, "DEADLINE_S", 0.5)

    async def slowly() -> AsyncIterator[bytes]:
        for _ in range(8):
            yield b" "
            await asyncio.sleep(0.1)

    assert (await client.post("/raw", content=slowly())).json() == {"bytes": 8}


@pytest.mark.parametrize("end", ["%0a", "%0A%0A", "%00", "%7f", "%0d%0a"])
async def test_a_path_that_holds_a_control_character_is_no_page(
    client: httpx.AsyncClient, end: str
) -> None:
    """A route's pattern ends at `$`, which takes a line's end for the path's."""
    assert (await client.get("/plain")).status_code == 200
    problem(await client.get(f"/plain{end}"), 404, "not_found")
