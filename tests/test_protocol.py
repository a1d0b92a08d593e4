"""What a connection may cost is bounded, and what is not HTTP is answered like every error."""

import asyncio
import contextlib
import json
import logging
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import TypeAlias

import pytest
import uvicorn
import uvloop
from starlette.types import Receive, Scope, Send

from services import protocol, protocol_times
from services.protocol import MAX_WAITING, BoundedProtocol
from services.protocol_heads import MAX_HEAD_BYTES, MAX_HEADERS, MAX_TARGET_BYTES, doubt_in

#: more than the kernel takes for somebody who reads nothing
LARGE = b"x" * 8_388_608
Run: TypeAlias = Callable[[Coroutine[None, None, None]], None]
#: the loop that serves, and asyncio's own
LOOPS = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
#: the paths that were asked of the application, in the order of their answers
ASKED: list[str] = []


async def _is_whole(receive: Receive) -> bool:
    while (message := await receive()).get("more_body"):
        pass
    return bool(message["type"] == "http.request")


async def _hello(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"] == "/large":
        length = str(len(LARGE)).encode()
        headers = [(b"content-length", length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": LARGE})
        return
    if scope["path"] not in ("/deaf", "/half") and not await _is_whole(receive):
        return
    if scope["path"] == "/slow":
        await asyncio.sleep(0.1)
    ASKED.append(scope["path"])
    length = b"8" if scope["path"] in ("/half", "/halves") else b"2"
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]}
    )
    if scope["path"] == "/half":
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    if scope["path"] == "/halves":
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        await asyncio.sleep(0.1)
    body = b"more" if scope["path"] == "/halves" else b"ok"
    await send({"type": "http.response.body", "body": body})


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
    try:
        yield server
    finally:
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
    monkeypatch.setattr(protocol_times, "_LINGER_S", 0.1)
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
        pytest.param(
            b"GET / HTTP/1.1\r\nhost: x\r\nno colon\r\n\r\n", id="a line that is no header"
        ),
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


@pytest.mark.parametrize(
    "head",
    [
        pytest.param("GET /no HTTP/1.1\r\n", id="no host"),
        pytest.param("POST /no HTTP/1.1\r\ncontent-length: 2\r\n", id="no host, a body"),
        pytest.param("GET http://x/no HTTP/1.1\r\n", id="a host in the target alone"),
        pytest.param("GET /no HTTP/1.1\r\nhost: x\r\nhost: y\r\n", id="two hosts"),
        pytest.param("GET /no HTTP/1.1\r\nhost: x\r\na: b\r\nHost: x\r\n", id="the same twice"),
        pytest.param("GET /no HTTP/1.1\r\nhost:\r\nhost:\r\n", id="two that are empty"),
        pytest.param("GET /no HTTP/1.0\r\nhost: x\r\nhost: x\r\n", id="two before HTTP/1.1"),
    ],
)
async def test_a_request_names_one_host(port: int, head: str) -> None:
    """RFC 9112, 3.2: else two who read it could take it for requests to two."""
    await _is_refused(port, head + "\r\nab")


@pytest.mark.parametrize(
    "head",
    ["GET /a HTTP/1.1\r\nhost:\r\nconnection: close\r\n", "GET /a HTTP/1.0\r\n"],
    ids=["empty", "HTTP/1.0"],
)
async def test_a_host_may_be_empty_and_before_http_1_1_missing(port: int, head: str) -> None:
    """RFC 9112, 3.2."""
    assert await _statuses(port, f"{head}\r\n".encode()) == [200]
    assert ASKED == ["/a"]


@pytest.mark.parametrize(
    "head",
    [
        pytest.param("HTTP/1.0\r\ntransfer-encoding: chunked", id="in HTTP/1.0"),
        pytest.param(
            "HTTP/1.0\r\nconnection: keep-alive\r\nTransfer-Encoding: chunked",
            id="in HTTP/1.0 that stays",
        ),
        pytest.param(
            "HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked", id="after a length"
        ),
        pytest.param(
            "HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 5", id="before a length"
        ),
        pytest.param(
            "HTTP/1.1\r\ncontent-length: 0\r\ntransfer-encoding: chunked", id="after none"
        ),
    ],
)
async def test_where_a_body_ends_is_said_in_one_way(port: int, head: str) -> None:
    """RFC 9112, 6.1 and 6.3: else what is a body to one is a request to the other."""
    await _is_refused(port, f"POST /no {head}\r\nhost: x\r\n\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(["gzip, chunked"], id="a second coding"),
        pytest.param(["xx,chunked"], id="an unknown one"),
        pytest.param([",chunked"], id="an empty one"),
        pytest.param(["identity, chunked"], id="one that is none"),
        pytest.param(["chunked, chunked"], id="the same twice"),
        pytest.param(["identity", "chunked"], id="two lines"),
        pytest.param(["chunked", "chunked"], id="two equal lines"),
        pytest.param(["identity"], id="one that does not say where it ends"),
        pytest.param(["chunked;q=1"], id="a parameter"),
        pytest.param(["\x0bchunked"], id="what only looks like a space"),
    ],
)
async def test_a_body_has_no_coding_but_chunked(port: int, lines: list[str]) -> None:
    """RFC 9112, 6.1 and 6.3: one who knows less of codings could end the body elsewhere."""
    codings = "".join(f"transfer-encoding: {line}\r\n" for line in lines)
    await _is_refused(port, f"POST /no HTTP/1.1\r\nhost: x\r\n{codings}\r\n0\r\n\r\n")


async def test_chunked_may_be_spelt_in_capitals(port: int) -> None:
    """RFC 9112, 7: names of codings are the same in either case."""
    sent = CHUNKED.replace(b" chunked", b" \t Chunked") + b"2\r\nab\r\n0\r\n\r\n"
    assert await _statuses(port, sent + _CLOSE) == [200, 200]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *((host, 400) for host in ("a, b", "a,b", "a b", "http://x/", "x/", "x@y", "x?y", "x#y")),
        *((host, 400) for host in ("x:99999", "x:65536", "x:000080", "x:a", "x:1:2", "x: 1")),
        *((host, 400) for host in ("\xff", "x\ty", "x%zz", "x\\y", "::1", "[::1", "[::1]x")),
        *((host, 400) for host in ("[x]", "[]", "[1.2.3.4]", "[::1%25a]", "[v1.x]", "[::1]:a")),
        *((host, 200) for host in ("x", "X.example.", "case_service", "x:", "x:65535", "%C3%A4")),
        *((host, 200) for host in ("127.0.0.1:8000", "[::1]", "[::FFFF:1.2.3.4]:8000", " x\t")),
    ],
)
def test_a_host_is_a_name_or_an_address_and_a_port(host: str, status: int) -> None:
    """RFC 9112, 3.2, and RFC 3986, 3.2: else each who reads it finds another host in it.

    A comma could be a name's, but would be taken for that of two hosts.
    """
    headers = [(b"host", host.encode("latin-1"))]
    assert (doubt_in(b"/", headers, "1.1", upgrade=False) is None) is (status == 200)


@pytest.mark.parametrize(
    "name",
    [
        *("Authorization", "Content-Type", "Content-Length", "Transfer-Encoding", "Host"),
        *("Idempotency-Key", "Purpose", "User-Agent", "X-Request-ID"),
    ],
)
def test_a_header_that_has_one_value_comes_once(name: str) -> None:
    """RFC 9110, 5.3: of two, one who stands in front may take the other, though they be equal."""
    value = {"Transfer-Encoding": b"chunked"}.get(name, b"2")
    once = {b"host": b"x", name.lower().encode(): value}
    assert doubt_in(b"/", [*once.items()], "1.1", upgrade=False) is None
    twice = [*once.items(), (b"accept", b"*/*"), (name.lower().encode(), value)]
    assert doubt_in(b"/", twice, "1.1", upgrade=False) == f"{name.lower()} comes twice"


@pytest.mark.parametrize("name", ["If-Match", "If-None-Match", "Accept", "X-Forwarded-For"])
def test_a_header_that_is_a_list_may_come_in_lines(name: str) -> None:
    """RFC 9110, 5.2."""
    line = (name.lower().encode(), b'"2"')
    assert doubt_in(b"/", [(b"host", b"x"), line, line], "1.1", upgrade=False) is None


async def test_who_sends_a_header_twice_is_told_which(port: int) -> None:
    """Else they learn only that something is wrong with a request that is HTTP."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    keys = b"Idempotency-Key: one\r\nidempotency-key: two\r\n"
    writer.write(_post("/no", b"ab").replace(b"content-length", keys + b"content-length"))
    status, _, body = await _whole(reader)
    assert (status, json.loads(body)["code"]) == (400, "bad_request")
    assert json.loads(body)["detail"] == "idempotency-key comes twice"
    writer.close()


@pytest.mark.parametrize(
    ("target", "host", "path"),
    [
        ("http://x/a", "x", "/a"),
        ("HTTP://X:80/a", "x:80", "/a"),
        ("https://[::1]:8000/a", "[::1]:8000", "/a"),
        ("http://x", "x", "/"),
        ("http://x?a=http://y/", "x", "/"),
    ],
)
async def test_a_target_may_name_the_host_that_is_asked(
    port: int, target: str, host: str, path: str
) -> None:
    """RFC 9112, 3.2.2: a server takes it, though only a proxy is sent it."""
    head = f"GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
    assert await _statuses(port, head.encode()) == [200]
    assert [path] == ASKED


@pytest.mark.parametrize(
    ("target", "host"),
    [
        *(("http://y/no", "x"), ("http://x:80/no", "x"), ("http://x/no", ""), ("http://y", "x")),
        *(("http://u@x/no", "x"), ("http://x@y/no", "y"), ("http:///no", ""), ("ftp://x/no", "x")),
        *(("http://x,y/no", "x"), ("http://:80/no", ":80"), ("/no#a", "x"), ("http://x#/no", "x")),
    ],
)
async def test_a_target_names_no_host_but_the_one_that_is_asked(
    port: int, target: str, host: str
) -> None:
    """RFC 9112, 3.2.2: one reader goes by the target, another by Host."""
    await _is_refused(port, f"GET {target} HTTP/1.1\r\nhost: {host}\r\n\r\n")


def test_before_http_1_1_the_target_alone_may_name_the_host() -> None:
    """RFC 9112, 3.2."""
    assert doubt_in(b"http://x/a", [], "1.0", upgrade=False) is None


async def test_what_leaves_a_doubt_is_refused_before_it_is_asked(port: int) -> None:
    """As one of each that is told from the other headers by its value, or by coming twice."""
    for wrong in ("host: a b", "host: x\r\nAuthorization: Bearer a\r\nauthorization: Bearer b"):
        await _is_refused(port, f"GET /no HTTP/1.1\r\n{wrong}\r\n\r\n")


async def _is_refused(port: int, sent: str) -> None:
    """Prove ``sent`` a problem with which the connection ends, and which waits for its turn."""
    assert await _statuses(port, _get("/slow") + sent.encode() + _get("/no")) == [200, 400]
    assert ASKED == ["/slow"]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent.encode())
    status, headers, body = await _whole(reader)
    assert (status, headers["connection"]) == (400, "close")
    assert headers["content-type"] == "application/problem+json"
    assert json.loads(body)["code"] == "bad_request"
    writer.close()


async def test_an_answer_that_has_begun_is_not_followed_by_a_problem(port: int) -> None:
    """Whoever reads on would take the problem for part of the answer: it ends first, or breaks."""
    broken = b"POST /half HTTP/1.1\r\nhost: x\r\n" + _BROKEN
    for begun, wrong, rest in (
        (_get("/halves"), b"this is not HTTP\r\n\r\n", b"moreHTTP/1.1 400 "),
        (broken[:-4], broken[-4:], b""),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(begun)
        async with asyncio.timeout(10):
            await reader.readuntil(b"\r\n\r\nhalf")
            writer.write(wrong)
            assert (await reader.read()).partition(b"Bad")[0] == rest
        writer.close()


def _errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR]


def _get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode()


def _post(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


#: a body that comes in part and then cannot go on
_BROKEN = b"transfer-encoding: chunked\r\n\r\n2\r\nab\r\nzz\r\n"
_CLOSE = b"GET /last HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


async def _statuses(port: int, *pieces: bytes, ends: bool = False) -> list[int]:
    """Return the statuses of all that is answered until the connection is closed.

    ``ends`` half-closes it at once behind the last piece.
    """
    ASKED.clear()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        if ends and piece is pieces[-1]:
            writer.write_eof()
        await asyncio.sleep(0.02)
    async with asyncio.timeout(10):
        answered = await reader.read()
    writer.close()
    return [int(line[:3]) for line in answered.split(b"HTTP/1.1 ")[1:]]


@pytest.mark.parametrize(
    ("sent", "asked", "last"),
    [
        pytest.param(_get("/a") + b"this is not HTTP\r\n\r\n", ["/a"], 400, id="one"),
        pytest.param(_get("/slow") + b"\x16", ["/slow"], 400, id="a single byte"),
        pytest.param(
            _get("/slow") + _get("/b") + _get("/c") + b"zz\r\n",
            ["/slow", "/b", "/c"],
            400,
            id="several",
        ),
        pytest.param(_post("/a", b"ab") + b"zz", ["/a"], 400, id="a body"),
        pytest.param(_get("/a") + b"zz\r\n" + _get("/smuggled"), ["/a"], 400, id="one behind"),
        pytest.param(
            _get("/slow") + b"POST /b HTTP/1.1\r\nhost: x\r\n" + _BROKEN,
            ["/slow"],
            400,
            id="half a body",
        ),
        pytest.param(
            _get("/slow") + b"GET /" + MAX_TARGET_BYTES * b"a" + b" HTTP/1.1\r\n\r\n",
            ["/slow"],
            431,
            id="a head over its bound",
        ),
        pytest.param(_get("/slow") + b"PRI * HTTP/2.0\r\n\r\n", ["/slow"], 400, id="HTTP/2"),
    ],
)
async def test_what_was_asked_before_what_is_not_http_is_answered_first(
    port: int, caplog: pytest.LogCaptureFixture, sent: bytes, asked: list[str], last: int
) -> None:
    """Its event may be durable. Nothing is answered twice, and nothing behind it is asked."""
    assert await _statuses(port, sent, _get("/smuggled")) == [*[200] * len(asked), last]
    assert asked == ASKED
    assert _errors(caplog) == []


async def test_what_is_not_http_waits_while_an_answer_is_made(port: int) -> None:
    """As much later as it comes: here each piece is read by itself."""
    assert await _statuses(port, _get("/slow"), _get("/b"), b"zz", _get("/c")) == [200, 200, 400]
    assert ASKED == ["/slow", "/b"]


async def test_a_request_has_one_answer_whatever_becomes_of_its_body(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever reads a second one takes it for the answer to what they ask next."""
    head = b"POST /deaf HTTP/1.1\r\nhost: x\r\n" + _BROKEN
    assert await _statuses(port, head[:-4], head[-4:]) == [200]
    assert await _statuses(port, head.replace(b"/deaf", b"/")) == [400]
    assert _errors(caplog) == []


async def test_behind_the_last_request_of_a_connection_nothing_is_answered(port: int) -> None:
    """RFC 9112, 9.6."""
    for behind in (b"zz\r\n", _get("/smuggled")):
        assert await _statuses(port, _CLOSE + behind) == [200]
        assert ASKED == ["/last"]


async def test_who_leaves_once_told_is_no_error_of_ours(
    port: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing waits for who is gone."""
    monkeypatch.setattr(protocol_times, "_LINGER_S", 0.05)
    monkeypatch.setattr(protocol_times, "ANSWER_S", 0.05)
    assert await _statuses(port, b"zz\r\n") == [400]
    await asyncio.sleep(0.2)
    assert _errors(caplog) == []


@LOOPS
@pytest.mark.parametrize(
    ("pieces", "asked", "last"),
    [
        pytest.param([_get("/a")], ["/a"], [], id="one"),
        pytest.param([_post("/slow", b"ab")], ["/slow"], [], id="a body"),
        pytest.param([3 * _get("/slow")], 3 * ["/slow"], [], id="several"),
        pytest.param(
            [_get("/slow"), _get("/a"), _get("/b")], ["/slow", "/a", "/b"], [], id="reads"
        ),
        pytest.param(
            [(1 + MAX_WAITING) * _get("/slow")], 9 * ["/slow"], [], id="all that may wait"
        ),
        pytest.param([(2 + MAX_WAITING) * _get("/a")], 9 * ["/a"], [429], id="too many"),
        pytest.param([_get("/slow") + _get("/no")[:-1]], ["/slow"], [], id="half a head"),
        pytest.param(
            [_get("/slow"), _get("/no")[:-1]], ["/slow"], [], id="half a head, read alone"
        ),
        pytest.param(
            [_get("/slow") + _post("/no", b"ab")[:-1]], ["/slow"], [400], id="half a body"
        ),
        pytest.param([_post("/no", b"ab")[:-1]], [], [400], id="nothing but half a body"),
        pytest.param([_get("/slow") + b"zz\r\n"], ["/slow"], [400], id="what is not HTTP"),
        pytest.param([_get("/no")[:-1]], [], [], id="nothing but half a head"),
        pytest.param([b""], [], [], id="nothing"),
    ],
)
def test_who_sends_nothing_more_is_answered_all_that_came_whole(
    run: Run,
    pieces: list[bytes],
    asked: list[str],
    last: list[int],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In turn, once, and with nothing to wait for behind it; what was not whole is not asked.

    RFC 9112, 9.6: who has half-closed a connection may still read from it.
    """
    monkeypatch.setattr(protocol_times, "_LINGER_S", 0.1)

    async def ask() -> None:
        async with _serving(20) as server:
            statuses = await _statuses(_port(server), *pieces, ends=True)
            assert statuses == [*[200] * len(asked), *last]
            assert asked == ASKED

    run(ask())
    assert _errors(caplog) == []


async def test_each_answer_to_who_sends_nothing_more_has_a_time_of_its_own(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their requests were taken: that several are slow loses none of them."""
    monkeypatch.setattr(protocol_times, "ANSWER_S", 0.6)
    asked = 1 + MAX_WAITING
    assert await _statuses(port, asked * _get("/slow"), ends=True) == asked * [200]


@LOOPS
@pytest.mark.parametrize("wholly", ["closes", "resets"])
def test_who_goes_before_the_answers_is_no_error_of_ours(
    run: Run, wholly: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A close looks like a half-close until something is written: it is answered into nothing."""

    async def go() -> None:
        async with _serving(5) as server, asyncio.timeout(10):
            for behind in (b"", _post("/no", b"ab")[:-1], b"zz\r\n"):
                _, writer = await asyncio.open_connection("127.0.0.1", _port(server))
                writer.write(3 * _get("/slow") + behind)
                await asyncio.sleep(0.02)
                if wholly == "resets":
                    linger = struct.pack("ii", 1, 0)
                    connected = writer.get_extra_info("socket")
                    connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.close()
                while server.server_state.connections or server.server_state.tasks:
                    await asyncio.sleep(0.01)

    run(go())
    assert _errors(caplog) == []


@pytest.mark.parametrize("method", ["POST", "CONNECT"])
@pytest.mark.parametrize("of", ["content-length: 36", "transfer-encoding: chunked"])
async def test_the_body_of_a_request_to_upgrade_is_no_request(
    port: int, method: str, of: str
) -> None:
    """The parser would read on behind the head, where who stands in front sees a body."""
    head = f"{method} /a HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n{of}\r\n\r\n"
    assert await _statuses(port, head.encode(), _get("/smuggled")) == [400]
    assert await _statuses(port, _get("/slow") + head.encode(), _get("/smuggled")) == [200, 400]
    assert ASKED == ["/slow"]


async def test_a_request_to_upgrade_is_answered_and_the_last(port: int) -> None:
    """RFC 9110, 7.8: it may be ignored; what follows could be of the other protocol."""
    head = b"GET /a HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"
    assert await _statuses(port, _get("/b") + head + _get("/c"), _get("/d")) == [200, 200]
    assert ASKED == ["/b", "/a"]


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
    monkeypatch.setattr(protocol_times, "MESSAGE_S", 0.3)
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
    monkeypatch.setattr(protocol_times, "MESSAGE_S", 1.0)
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
    status, headers, body = await _whole(reader)
    assert (status, json.loads(body)["code"]) == (503, "unavailable")
    assert headers["retry-after"] == "1"
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
    monkeypatch.setattr(protocol_times, "ANSWER_S", 0.5)
    monkeypatch.setattr(protocol_times, "MESSAGE_S", 0.3)
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


async def test_of_the_last_answer_all_is_read_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading some of it buys no more time: it would hold the connection to stop just then."""
    made = BoundedProtocol.connection_made

    def narrow(self: BoundedProtocol, transport: asyncio.Transport) -> None:
        transport.set_write_buffer_limits(high=len(LARGE) // 4, low=len(LARGE) // 4)
        made(self, transport)

    monkeypatch.setattr(BoundedProtocol, "connection_made", narrow)
    monkeypatch.setattr(protocol_times, "ANSWER_S", 0.5)
    async with _serving(5) as server, asyncio.timeout(10):
        reader, writer = await _deaf(_port(server), _LAST)
        await reader.readexactly(len(LARGE) // 2)
        while server.server_state.connections:
            await asyncio.sleep(0.01)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


def test_who_pipelines_and_never_reads_is_no_error_of_ours(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody fills the error log by turning away.

    On the loop that serves, for asyncio's own takes what is written to a lost connection.
    """
    monkeypatch.setattr(protocol_times, "ANSWER_S", 0.3)

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


async def test_what_is_asked_at_once_learns_that_nobody_waits(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else what an answer holds is held for who has gone, or could be for all that they send."""
    monkeypatch.setattr(protocol_times, "ANSWER_S", 0.3)
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
        (b"GET / HTTP/1.1\r\na: " + (MAX_HEAD_BYTES - 99) * b"a" + b"\r\n", 200),
    ],
    ids=["target", "longer target", "many parameters", "many headers", "headers", "long header"],
)
async def test_targets_and_headers_are_bounded(port: int, head: bytes, status: int) -> None:
    """Every parameter of a query and every header costs work of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head + b"host: x\r\nconnection: close\r\n\r\n")
    answered, _, body = await _whole(reader)
    assert answered == status
    assert body == b"ok" or json.loads(body)["code"] == "head_too_large"
    writer.close()


async def test_a_head_is_bounded_in_whatever_reads_it_comes(port: int) -> None:
    """One that begins in the read of the request before it is as long as any other."""
    large = b"GET /no HTTP/1.1\r\nhost: x\r\n" + b"".join(
        b"a: " + 65_536 * b"a" + b"\r\n" for _ in range(4)
    )
    for before in (_get("/a"), _post("/a", b"b" * 200_000)):
        assert await _statuses(port, before + large + b"\r\n") == [200, 431]
        assert ASKED == ["/a"]


async def test_who_reads_slowly_gets_all_of_it_and_may_ask_again(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol_times, "ANSWER_S", 2.0)
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


@pytest.mark.parametrize("before", [b"", b"2\r\nab\r\n"], ids=["a head", "a piece of a body"])
@pytest.mark.parametrize(("more", "status"), [(60_000, 200), (70_000, 431)])
async def test_an_extension_is_bounded_that_begins_in_the_read_of(
    before: bytes, more: int, status: int
) -> None:
    """One bound for all that is no body, whichever read it began in."""
    async with _serving(5) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", _port(server))
        (protocol_,) = await _connected(server)
        began = CHUNKED.replace(b"host", b"connection: close\r\nhost") + before + b"2;x="
        for read in (began + 200_000 * b"a", more * b"a", b"\r\nab\r\n0\r\n\r\n"):
            protocol_.data_received(read)
        answered, _, _ = await _whole(reader)
        writer.close()
    assert answered == status


async def test_a_body_in_many_chunks_passes_whatever_they_are(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    large = b"40000\r\n" + b"a" * 0x40000 + b"\r\n"
    writer.write(CHUNKED + b"2;x=y\r\nab\r\n" * 40_000 + large + b"0\r\n\r\n")
    assert (await _answers(reader)) == b"HTTP/1.1 200 OK"
    writer.close()
