"""A request's head is bounded: one connection cannot keep a server busy with it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from services.protocol import MAX_HEAD_BYTES, BoundedProtocol


async def _hello(_scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
    )
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    config = uvicorn.Config(
        _hello, port=0, http=BoundedProtocol, lifespan="off", ws="none", log_config=None
    )
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment] # pytest has them
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await serving


async def _answers(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(10):
        return await reader.read(15)


async def test_a_head_without_end_is_cut_off(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nx-long: ")
    with contextlib.suppress(ConnectionError):
        for _ in range(64):
            writer.write(b"a" * 16_384)
            await writer.drain()
    with contextlib.suppress(ConnectionError):
        assert await _answers(reader) == b""
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
