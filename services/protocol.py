"""HTTP/1.1 with the bounds that uvicorn's httptools protocol lacks, in bytes, seconds and number.

Without them one connection that sends a header value without end is parsed again and again while
everybody else waits, one that never ends what it began stays for ever, and as many as come are let
in. What is not HTTP is answered as every other error is: problem+json with a request id.
"""

import asyncio
import resource
from typing import Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from services.kernel.errors import BadRequest, HeadTooLarge, Problem, Unavailable
from services.kernel.http import problem_unasked

#: bytes of request line and headers together; what one read brings beside them counts too
MAX_HEAD_BYTES: Final = 262_144
#: within which a connection's first request, and every request that began, must have come whole.
#: A body that an application reads is given up sooner, with an answer.
MESSAGE_S: Final = 15.0
#: how long one that is told why still sends into nothing: closed at once, with bytes unread, its
#: answer would be lost on the way (RFC 9112, 9.6)
_LINGER_S: Final = 1.0
_MOST: Final = 4_096


def most_connections() -> int:
    """Return how many connections are let in at once: most of the files we may have open."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST if files < 0 else min(_MOST, files * 3 // 4)


class BoundedProtocol(HttpToolsProtocol):
    """Closes a connection whose request does not come within the bounds of this module."""

    _in_head = True
    _head_bytes = 0
    _told = False
    _too_late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Let a connection in, or tell it that there are too many."""
        super().connection_made(transport)
        if len(self.connections) > most_connections():
            self._write(Unavailable())
            self.transport.close()
            return
        self._await_message()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting for it."""
        self._message_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what arrived, unless a head has grown past the bound."""
        if self._told or self.transport.is_closing():
            return
        if self._in_head:
            self._await_message()
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(HeadTooLarge())
                return
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """Stop counting: what follows is a body, which has a bound of its own."""
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Begin to count again: what follows is the head of the next request."""
        self._in_head = True
        self._head_bytes = 0
        self._message_came()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words are not ours
        """Answer what is not HTTP; where an answer has begun, only close."""
        self._refuse(BadRequest())

    def _refuse(self, problem: Problem) -> None:
        # before the first request there is no cycle
        if not getattr(self.cycle, "response_complete", True):
            if self.cycle.response_started:
                self.transport.close()
                return
            self.cycle.disconnected = True  # no answer may follow this one
        self._told = True
        self._write(problem)
        self.transport.write_eof()
        self.loop.call_later(_LINGER_S, self.transport.close)

    def _write(self, problem: Problem) -> None:
        headers, body = problem_unasked(problem)
        lines = [*self.server_state.default_headers, *headers, (b"connection", b"close")]
        head = b"".join(b"%b: %b\r\n" % line for line in lines)
        self.transport.write(STATUS_LINE[problem.status] + head + b"\r\n" + body)

    def _await_message(self) -> None:
        if self._too_late is None:
            self._too_late = self.loop.call_later(MESSAGE_S, self.transport.close)

    def _message_came(self) -> None:
        if self._too_late is not None:
            self._too_late.cancel()
            self._too_late = None
