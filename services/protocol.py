"""HTTP/1.1 with the bounds that uvicorn's httptools protocol lacks, in bytes, seconds and number.

Without them one connection that sends a header value without end is parsed again and again while
everybody else waits, thousands of requests wait on one that reads no answer, one that never ends
what it began stays for ever, and as many as come are let in. What is not HTTP is answered as every
other error is: problem+json with a request id.
"""

import asyncio
import resource
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from services.kernel.errors import (
    BadRequest,
    HeadTooLarge,
    Problem,
    TooManyRequests,
    Unavailable,
)
from services.kernel.http import problem_unasked

#: bytes of request line and headers together; what one read brings beside them counts too
MAX_HEAD_BYTES: Final = 262_144
#: of a path with its query, in bytes: every parameter of a query is looked at
MAX_TARGET_BYTES: Final = 16_384
MAX_HEADERS: Final = 100
#: requests that wait on one connection behind the one being answered (RFC 9112, 9.3.2)
MAX_WAITING: Final = 8
#: within which a connection's first request, and every request that began, must have come whole.
#: A body that an application reads is given up sooner, with an answer.
MESSAGE_S: Final = 15.0
#: within which an answer that waits to be read must have been: from when more waits than the kernel
#: and the transport's buffer hold, or from when the connection is closed
ANSWER_S: Final = 30.0
#: how long one that is told why still sends into nothing: closed at once, with bytes unread, its
#: answer would be lost on the way (RFC 9112, 9.6)
_LINGER_S: Final = 1.0
_MOST: Final = 4_096
#: SO_LINGER on, for no time: closing sends a reset and forgets what was not sent
_NO_LINGER: Final = struct.pack("ii", 1, 0)


def most_connections() -> int:
    """Return how many connections are let in at once: most of the files we may have open."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST if files < 0 else min(_MOST, files * 3 // 4)


class _EnoughError(Exception):
    """Raised in a callback of the parser: what follows of the same read is not parsed."""


class BoundedProtocol(HttpToolsProtocol):
    """Closes a connection whose request does not come within the bounds of this module.

    Guarantees: of requests sent at once, every one up to the bound is answered in turn; the next is
    answered 429, the connection is closed behind it, and what follows is never looked at.
    """

    _in_head = True
    #: bytes of the head, or of what came since without bringing any of the body: sizes of chunks,
    #: their extensions, trailers
    _head_bytes = 0
    _brought = False
    _told = False
    #: what is wrong with the request being parsed, when it is HTTP
    _wrong: Problem | None = None
    #: the one being answered; uvicorn's own ``cycle`` is the newest, which may wait behind it
    _answering: RequestResponseCycle | None = None
    _too_late: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Let a connection in, or tell it that there are too many."""
        super().connection_made(transport)
        if len(self.connections) > most_connections():
            self._write(Unavailable())
            self._close()
            return
        self._await_message()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting for it, and tell what is being answered.

        uvicorn tells the newest request alone: an earlier one would write on, which is an error.
        """
        self._message_came()
        self._was_read()
        super().connection_lost(exc)
        if self._answering is not None and not self._answering.response_complete:
            self._answering.disconnected = True
            self._answering.message_event.set()

    def pause_writing(self) -> None:
        """Wait for the other side to read, and no longer than :data:`ANSWER_S`."""
        super().pause_writing()
        self._await_reader()

    def resume_writing(self) -> None:
        """Stop waiting: it reads."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._was_read()

    def on_response_complete(self) -> None:
        """Serve on; of a connection that is to close, wait until its answer was read."""
        super().on_response_complete()
        self._await_reader_of_last()

    def timeout_keep_alive_handler(self) -> None:
        """Close what is idle, even if it has not read what it was answered."""
        super().timeout_keep_alive_handler()
        self._await_reader_of_last()

    def shutdown(self) -> None:
        """Close once what was asked is answered."""
        super().shutdown()
        self._await_reader_of_last()

    def data_received(self, data: bytes) -> None:
        """Take what arrived, unless a head has grown past the bound, or what is no body has."""
        if self._told or self.transport.is_closing():
            return
        self._head_bytes += len(data)
        if self._in_head:
            self._await_message()
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(HeadTooLarge())
                return
        self._brought = False
        super().data_received(data)
        if self._brought:
            self._head_bytes = 0
        elif self._head_bytes > MAX_HEAD_BYTES and not self._told:
            self._refuse(HeadTooLarge())

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body: the next may bring as much beside it again."""
        self._brought = True
        super().on_body(body)

    def on_url(self, url: bytes) -> None:
        """Take a piece of the path and the query, unless they have grown past their bound."""
        super().on_url(url)
        if len(self.url) > MAX_TARGET_BYTES:
            self._wrong = HeadTooLarge()
            raise _EnoughError

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, unless there are too many, or it comes behind the body.

        A trailer is no header (RFC 9110, 6.5.1): who stands in front sees none there, and what it
        says of who asks would count for us alone.
        """
        if not self._in_head:
            self._wrong = BadRequest()
            raise _EnoughError
        super().on_header(name, value)
        if len(self.headers) > MAX_HEADERS:
            self._wrong = HeadTooLarge()
            raise _EnoughError

    def on_headers_complete(self) -> None:
        """Stop counting: what follows is a body, which has a bound of its own.

        Of too many that wait the newest waits on to be refused, and is the last one read.
        """
        self._in_head = False
        self._head_bytes = 0
        super().on_headers_complete()
        if len(self.pipeline) > MAX_WAITING:
            self._told = True
            self._message_came()
            cycle, _ = self.pipeline.popleft()
            cycle.keep_alive = False
            self.pipeline.appendleft((cycle, _too_many))
            raise _EnoughError

    def on_message_complete(self) -> None:
        """Begin to count again: what follows is the head of the next request."""
        self._in_head = True
        self._head_bytes = 0
        self._message_came()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words are not ours
        """Answer what is not HTTP or over a bound; where an answer has begun, only close."""
        if not self._told:
            self._refuse(self._wrong or BadRequest())

    def _start_asgi_task(
        self, cycle: RequestResponseCycle, app: Callable[..., Awaitable[None]]
    ) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _refuse(self, problem: Problem) -> None:
        answering = self._answering
        if answering is not None and not answering.response_complete:
            if answering.response_started:
                self._close()
                return
            answering.disconnected = True  # no answer may follow this one
        self._told = True
        self._write(problem)
        self.transport.write_eof()
        self.loop.call_later(_LINGER_S, self._close)

    def _write(self, problem: Problem) -> None:
        headers, body = problem_unasked(problem)
        lines = [*self.server_state.default_headers, *headers, (b"connection", b"close")]
        head = b"".join(b"%b: %b\r\n" % line for line in lines)
        self.transport.write(STATUS_LINE[problem.status] + head + b"\r\n" + body)

    def _await_message(self) -> None:
        if self._too_late is None:
            self._too_late = self.loop.call_later(MESSAGE_S, self._close)

    def _message_came(self) -> None:
        if self._too_late is not None:
            self._too_late.cancel()
            self._too_late = None

    def _close(self) -> None:
        self.transport.close()
        self._await_reader_of_last()

    def _await_reader_of_last(self) -> None:
        """Wait for who reads from a closed transport: else it stays until all was read."""
        if self.transport.is_closing() and self in self.connections:
            self._await_reader()

    def _await_reader(self) -> None:
        if self._unread is None:
            self._unread = self.loop.call_later(ANSWER_S, self._reset)

    def _reset(self) -> None:
        """Drop the connection; closed instead, the kernel would hold what nobody reads on."""
        connected = self.transport.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self.transport.abort()

    def _was_read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None


async def _too_many(_scope: object, _receive: object, send: Callable[[Any], Any]) -> None:
    headers, body = problem_unasked(TooManyRequests(retry_after_s=1))
    await send({"type": "http.response.start", "status": 429, "headers": headers})
    await send({"type": "http.response.body", "body": body})
