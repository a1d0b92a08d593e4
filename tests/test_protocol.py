"""What a connection may cost is bounded, and what is not HTTP is answered like every error."""

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import AsyncIterator

import pytest
import uvicorn
import uvloop
from starlette.types import Receive, Scope, Send

from services import protocol
from services.protocol import (
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    MAX_TARGET_BYTES,
    MAX_WAITING,
    BoundedProtocol,
)

#: more than the kernel takes for somebody who reads nothing
LARGE = b"x" * 8_388_608


async def _hello(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"] == "/large":
        length = str(len(LARGE)).encode()
        headers = [(b"content-length", length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": LARGE})
        return
    while scope["path"] != "/deaf" and (await receive()).get("more_body"):
        pass
    length = b"8" if scope["path"] == "/half" else b"2"
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]}
    )
    if scope["path"] == "/half":
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def keep_alive() -> int:
    """Return for how many seconds a connection on which nothing is asked stays; uvicorn's own."""
    return 5


@contextlib.asynccontextmanager
async def _serving(keep_alive: int) -> AsyncIterator[uvicorn.Server]:
    config = uvicorn.Config(
        _hello,
        port=0,
        http=BoundedProtocol,
        lifespan="off",
        ws="none",
        log_config=None,
        timeout_keep_alive=keep_alive,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment] # pytest has them
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield server
    server.should_exit = True
    await serving


def _port(server: uvicorn.Server) -> int:
    port: int = server.servers[0].sockets[0].getsockname()[1]
    return port


@pytest.fixture
async def port(keep_alive: int) -> AsyncIterator[int]:
    async with _serving(keep_alive) as server:
        yield _port(server)


async def _answers(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(10):
        return await reader.read(15)


async def test_a_head_without_end_is_cut_off(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nx-long: ")
    for _ in range(64):
        writer.write(b"a" * 16_384)
        await writer.drain()
    status, headers, body = await _whole(reader)
    assert (status, headers["connection"]) == (431, "close")
    assert headers["content-type"] == "application/problem+json"
    found = json.loads(body)
    assert (found["code"], found["request_id"]) == ("head_too_large", headers["x-request-id"])
    writer.close()


async def test_who_sends_on_after_having_been_told_is_cut_off(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they send is not parsed, nor is the connection theirs for long."""
    monkeypatch.setattr(protocol, "_LINGER_S", 0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nx-long: " + b"a" * MAX_HEAD_BYTES + b"\r\n\r\n")
    status, _, body = await _whole(reader)
    assert (status, json.loads(body)["code"]) == (431, "head_too_large")

    async def send_on() -> None:
        while True:
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            await writer.drain()
            await asyncio.sleep(0.01)

    with pytest.raises(ConnectionError):
        await asyncio.wait_for(send_on(), 5)
    writer.close()


async def test_large_bodies_and_many_requests_on_one_connection_pass(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = b"b" * (2 * MAX_HEAD_BYTES)
    for _ in range(3):
        head = f"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        assert (await _answers(reader)) == b"HTTP/1.1 200 OK"
        await reader.readuntil(b"\r\n\r\nok")
    writer.close()


async def _whole(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of an answer after which the connection is closed."""
    async with asyncio.timeout(10):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(first.split()[1]), headers, body


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"\x16\x03\x01 hello\r\n\r\n", id="TLS"),
        pytest.param(b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n", id="a path beyond ASCII"),
        pytest.param(b"GET / HTTP/1.1\r\nno colon\r\n\r\n", id="a line that is no header"),
        pytest.param(
            b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
            id="two lengths",
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            id="a chunk without a length",
        ),
    ],
)
async def test_what_is_not_http_is_a_problem_with_a_request_id(port: int, sent: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    status, headers, body = await _whole(reader)
    assert status == 400
    assert headers["content-type"] == "application/problem+json"
    assert headers["content-length"] == str(len(body))
    assert headers["cache-control"] == "no-store"
    assert headers["connection"] == "close"
    found = json.loads(body)
    assert found["code"] == "bad_request"
    assert found["request_id"] == headers["x-request-id"] != ""
    writer.close()


async def test_an_answer_that_has_begun_is_not_followed_by_a_problem(port: int) -> None:
    """Whoever reads on would take the problem for part of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /half HTTP/1.1\r\nhost: x\r\n\r\n")
    async with asyncio.timeout(10):
        await reader.readuntil(b"\r\n\r\nhalf")
        writer.write(b"this is not HTTP\r\n\r\n")
        assert await reader.read() == b""
    writer.close()


def _errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR]


async def test_what_is_not_http_behind_waiting_requests_is_answered_alone(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Anybody could fill the error log with answers that come after the last."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(2 * b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" + b"this is not HTTP\r\n\r\n")
    status, _, body = await _whole(reader)
    assert (status, json.loads(body)["code"]) == (400, "bad_request")
    assert _errors(caplog) == []
    writer.close()


@pytest.mark.parametrize(
    "beginning",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"GET / HTTP/1.1\r\nhost: x\r\n", id="half a head"),
        pytest.param(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 90\r\n\r\n", id="half a body"),
        pytest.param(
            b"GET /deaf HTTP/1.1\r\nhost: x\r\ncontent-length: 90\r\n\r\n",
            id="a body that nobody reads",
        ),
        pytest.param(b"GET / HTTP/1.1\r\nhost: x\r\n\r\nGET /", id="half a second request"),
    ],
)
async def test_what_dribbles_without_end_is_closed(
    port: int, monkeypatch: pytest.MonkeyPatch, beginning: bytes
) -> None:
    monkeypatch.setattr(protocol, "MESSAGE_S", 0.3)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(beginning)

    async def dribble() -> None:
        while beginning:
            await asyncio.sleep(0.02)
            writer.write(b"a")

    dribbling = asyncio.create_task(dribble())
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(4):
            await reader.read()
    dribbling.cancel()
    writer.close()


async def test_a_connection_that_has_asked_may_stay_and_ask_again(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "MESSAGE_S", 1.0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(2):
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        async with asyncio.timeout(10):
            await reader.readuntil(b"\r\n\r\nok")
        await asyncio.sleep(1.2)
    writer.close()


async def test_no_more_connections_are_let_in_than_there_is_room_for(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "most_connections", lambda: 2)
    held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
    for reader, writer in held:
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        async with asyncio.timeout(10):
            await reader.readuntil(b"\r\n\r\nok")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    status, _, body = await _whole(reader)
    assert (status, json.loads(body)["code"]) == (503, "unavailable")
    writer.close()
    held[0][1].close()
    async with asyncio.timeout(10):
        while True:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            if (await reader.readline()).startswith(b"HTTP/1.1 200"):
                break
            writer.close()
    writer.close()
    held[1][1].close()


async def _deaf(port: int, request: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Ask for something large, and read no more of it than what asyncio reads ahead."""
    asking = socket.socket()
    asking.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    asking.setblocking(False)
    await asyncio.get_running_loop().sock_connect(asking, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=asking, limit=4_096)
    writer.write(request)
    return reader, writer


async def _served(port: int) -> bool:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    async with asyncio.timeout(5):
        answered = (await reader.readline()).startswith(b"HTTP/1.1 200")
    writer.close()
    return answered


_LARGE = b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n"
_LAST = b"GET /large HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


@pytest.mark.parametrize("keep_alive", [1])
@pytest.mark.parametrize(
    ("asked", "more", "buffered"),
    [
        pytest.param(_LARGE, b"", False, id="keeps alive"),
        pytest.param(_LARGE, b"", True, id="keeps alive, buffered"),
        pytest.param(_LAST, b"", False, id="closes"),
        pytest.param(_LAST, b"", True, id="closes, buffered"),
        pytest.param(_LARGE, _LARGE, False, id="asks for more"),
        pytest.param(_LARGE, b"GET", True, id="dribbles, buffered"),
    ],
)
async def test_who_never_reads_an_answer_holds_no_place_for_long(
    port: int,
    monkeypatch: pytest.MonkeyPatch,
    asked: bytes,
    more: bytes,
    *,
    buffered: bool,
) -> None:
    """A flooder takes no bounded connection from others by asking and turning away.

    What fits into the transport's buffer holds its connection open just the same.
    """
    made = BoundedProtocol.connection_made

    def roomy(self: BoundedProtocol, transport: asyncio.Transport) -> None:
        transport.set_write_buffer_limits(high=4 * len(LARGE))
        made(self, transport)

    if buffered:
        monkeypatch.setattr(BoundedProtocol, "connection_made", roomy)
    monkeypatch.setattr(protocol, "ANSWER_S", 0.5)
    monkeypatch.setattr(protocol, "MESSAGE_S", 0.3)
    deaf = [await _deaf(port, asked) for _ in range(4)]
    assert await _served(port), "others are served meanwhile"
    for _, writer in deaf:
        writer.write(more)
    monkeypatch.setattr(protocol, "most_connections", lambda: 4)
    async with asyncio.timeout(20):
        while not await _served(port):
            await asyncio.sleep(0.05)
    with pytest.raises(ConnectionResetError):  # closed, all that the kernel holds could be read
        await asyncio.wait_for(deaf[0][0].read(), 5)
    for _, writer in deaf:
        writer.transport.abort()


def test_who_pipelines_and_never_reads_is_no_error_of_ours(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody fills the error log by turning away.

    On the loop that serves, for asyncio's own takes what is written to a lost connection.
    """
    monkeypatch.setattr(protocol, "ANSWER_S", 0.3)

    async def turn_away() -> None:
        async with _serving(5) as server, asyncio.timeout(10):
            _, writer = await _deaf(_port(server), 3 * _LARGE)
            state = server.server_state
            while not state.tasks:
                await asyncio.sleep(0.01)
            while state.connections or state.tasks:
                await asyncio.sleep(0.01)
            assert state.total_requests == 1, "the second waited for the first to be read"
            writer.transport.abort()

    uvloop.run(turn_away())
    assert _errors(caplog) == []


async def test_what_is_asked_at_once_learns_that_nobody_waits(port: int) -> None:
    """Else what an answer holds is held for who has gone."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    left = asyncio.all_tasks()
    writer.write(2 * b"GET /half HTTP/1.1\r\nhost: x\r\n\r\n")
    async with asyncio.timeout(10):
        await reader.readuntil(b"\r\n\r\nhalf")
        assert asyncio.all_tasks() - left
        writer.close()
        while asyncio.all_tasks() - left:
            await asyncio.sleep(0.01)


_GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


async def test_as_many_as_may_wait_are_answered_and_the_connection_stays(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(3):
        writer.write((1 + MAX_WAITING) * _GET)
        async with asyncio.timeout(10):
            for _ in range(1 + MAX_WAITING):
                await reader.readuntil(b"\r\n\r\nok")
    writer.close()


async def test_of_requests_sent_at_once_no_more_wait_than_may(port: int) -> None:
    """RFC 9112, 9.3.2: who is not answered asks again; the rest of a flood is not looked at."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(5_000 * _GET)
    async with asyncio.timeout(10):
        for _ in range(1 + MAX_WAITING):
            await reader.readuntil(b"\r\n\r\nok")
    status, headers, body = await _whole(reader)
    assert (status, headers["connection"], headers["retry-after"]) == (429, "close", "1")
    assert json.loads(body)["code"] == "too_many_requests"
    writer.close()


async def test_who_floods_and_never_reads_has_no_more_parsed_than_may_wait() -> None:
    """Else memory and processor are whoever's sends the shortest requests."""
    async with _serving(5) as server, asyncio.timeout(10):
        _, writer = await _deaf(_port(server), _LARGE + 8_000 * _GET)
        (protocol_,) = await _connected(server)
        while not protocol_.pipeline:
            await asyncio.sleep(0.01)
        for _ in range(20):
            writer.write(1_000 * _GET)
            await asyncio.sleep(0.01)
            assert len(protocol_.pipeline) <= 1 + MAX_WAITING
        writer.transport.abort()


async def _connected(server: uvicorn.Server) -> list[BoundedProtocol]:
    while not server.server_state.connections:
        await asyncio.sleep(0.01)
    return [one for one in server.server_state.connections if isinstance(one, BoundedProtocol)]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /" + (MAX_TARGET_BYTES - 1) * b"a" + b" HTTP/1.1\r\n", 200),
        (b"GET /" + MAX_TARGET_BYTES * b"a" + b" HTTP/1.1\r\n", 431),
        (b"GET /?" + MAX_TARGET_BYTES // 3 * b"a=&" + b" HTTP/1.1\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + MAX_HEADERS * b"a: b\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + (MAX_HEADERS - 2) * b"a: b\r\n", 200),
    ],
    ids=["target", "longer target", "many parameters", "many headers", "headers"],
)
async def test_targets_and_headers_are_bounded(port: int, head: bytes, status: int) -> None:
    """Every parameter of a query and every header costs work of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head + b"host: x\r\nconnection: close\r\n\r\n")
    answered, _, body = await _whole(reader)
    assert answered == status
    assert body == b"ok" or json.loads(body)["code"] == "head_too_large"
    writer.close()


async def test_who_reads_slowly_gets_all_of_it_and_may_ask_again(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "ANSWER_S", 2.0)
    reader, writer = await _deaf(port, _LARGE)
    await reader.readuntil(b"\r\n\r\n")
    await asyncio.sleep(0.3)
    assert await reader.readexactly(len(LARGE)) == LARGE
    await asyncio.sleep(2.1)
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    async with asyncio.timeout(5):
        await reader.readuntil(b"\r\n\r\nok")
    writer.close()


CHUNKED = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"


async def test_a_trailer_is_no_header(port: int) -> None:
    """RFC 9110, 6.5.1: who stands in front sees none there, so none counts here."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(CHUNKED + b"2\r\nab\r\n0\r\nauthorization: Bearer x\r\n\r\n")
    status, headers, body = await _whole(reader)
    assert (status, headers["connection"]) == (400, "close")
    assert json.loads(body)["code"] == "bad_request"
    writer.close()


@pytest.mark.parametrize("without_end", [b"0\r\nx-a: ", b"2;x="], ids=["trailer", "extension"])
async def test_what_is_no_body_is_bounded_behind_a_head_too(port: int, without_end: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(CHUNKED + b"2\r\nab\r\n" + without_end)
    with contextlib.suppress(ConnectionError):
        for _ in range(64):
            writer.write(b"a" * 16_384)
            await writer.drain()
    status, headers, body = await _whole(reader)
    assert (status, headers["connection"]) == (431, "close")
    assert json.loads(body)["code"] == "head_too_large"
    writer.close()


async def test_a_body_in_many_chunks_passes_whatever_they_are(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    large = b"40000\r\n" + b"a" * 0x40000 + b"\r\n"
    writer.write(CHUNKED + b"2;x=y\r\nab\r\n" * 40_000 + large + b"0\r\n\r\n")
    assert (await _answers(reader)) == b"HTTP/1.1 200 OK"
    writer.close()
