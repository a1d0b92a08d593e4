"""The load generator: a process of its own, HTTP/1.1 with keep-alive and nothing else.

Reads an order from standard input, asks random targets over so many connections for so long, and
writes what it saw to standard output. It parses of an answer only its status and its length, so
that it is never what is measured.
"""

import asyncio
import random
import sys
from collections.abc import Sequence
from time import perf_counter
from typing import Final, cast

import msgspec
import uvloop

_END: Final = b"\r\n\r\n"
_MAX_ANSWERS: Final = 1_000_000


class Order(msgspec.Struct):
    """What to ask: raw requests, over how many connections, for how many seconds."""

    port: int
    requests: list[bytes]
    connections: int
    seconds: float


class Seen(msgspec.Struct):
    """What came back: answers a second, latencies, and how many were not 200."""

    count: int
    seconds: float
    p50_ms: float
    p99_ms: float
    failed: int

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.count / self.seconds


class _Connection(asyncio.Protocol):
    """Asks one thing after the other until the time is over."""

    def __init__(self, requests: Sequence[bytes], until: float, taken: list[float]) -> None:
        self._requests = requests
        self._until = until
        self._taken = taken
        self._buffer = b""
        self._began = 0.0
        self._transport: asyncio.Transport | None = None
        self.failed = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._ask()

    def _ask(self) -> None:
        assert self._transport is not None
        self._began = perf_counter()
        if self._began >= self._until or len(self._taken) >= _MAX_ANSWERS:
            self._transport.close()
            return
        self._transport.write(random.choice(self._requests))

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        head, end, body = self._buffer.partition(_END)
        if not end:
            return
        place = head.lower().find(b"content-length: ") + 16
        length = int(head[place:].split(b"\r\n", 1)[0])
        if len(body) < length:
            return
        self._taken.append(perf_counter() - self._began)
        self.failed += head[9:12] != b"200"
        self._buffer = b""
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        self.failed += exc is not None
        if not self.done.done():
            self.done.set_result(None)


async def _run(order: Order) -> Seen:
    loop = asyncio.get_running_loop()
    taken: list[float] = []
    began = perf_counter()
    connections = []
    for _ in range(order.connections):
        _, connection = await loop.create_connection(
            lambda: _Connection(order.requests, began + order.seconds, taken),
            "127.0.0.1",
            order.port,
        )
        connections.append(connection)
    await asyncio.gather(*(connection.done for connection in connections))
    seconds = perf_counter() - began
    taken.sort()
    return Seen(
        count=len(taken),
        seconds=seconds,
        p50_ms=taken[len(taken) // 2] * 1000,
        p99_ms=taken[len(taken) * 99 // 100] * 1000,
        failed=sum(connection.failed for connection in connections),
    )


def main() -> None:
    """Carry out the order on standard input."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    seen = uvloop.run(_run(order))
    sys.stdout.buffer.write(msgspec.json.encode(seen))


if __name__ == "__main__":
    main()
