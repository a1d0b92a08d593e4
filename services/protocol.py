"""HTTP/1.1 with the bounds that uvicorn's httptools protocol lacks, in bytes, seconds and number.

Without them one connection that sends a header value without end is parsed again and again while
everybody else waits, thousands of requests wait on one that reads no answer, one that never ends
what it began stays for ever, and as many as come are let in. What is not HTTP is answered as every
other error is: problem+json with a request id.

Here is a connection, what waits on it and the order of its answers; which head is taken is said in
:mod:`services.protocol_heads`, how long anything may take in :mod:`services.protocol_times`.
"""

import asyncio
import resource
from collections.abc import Awaitable, Callable
from typing import Any, Final, NoReturn

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from services.kernel.boundary import problem_unasked
from services.kernel.errors import (
    BadRequest,
    HeadTooLarge,
    Problem,
    TooManyRequests,
    Unavailable,
)
from services.protocol_heads import (
    MAX_HEADERS,
    MAX_TARGET_BYTES,
    HeadBytes,
    doubt_in,
    origin_form,
)
from services.protocol_times import ConnectionTimes

#: requests that wait on one connection behind the one being answered (RFC 9112, 9.3.2)
MAX_WAITING: Final = 8
#: connections at once, however many files may be open
_MOST: Final = 4_096


def most_connections() -> int:
    """Return how many connections are let in at once: most of the files we may have open."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST if files < 0 else min(_MOST, files * 3 // 4)


class _EnoughError(Exception):
    """Raised in a callback of the parser: what follows of the same read is not parsed."""


class BoundedProtocol(HttpToolsProtocol):
    """Closes a connection whose request does not come within the bounds.

    Guarantees: of requests sent at once, every one up to the bound is answered in turn; the next is
    answered 429, the connection is closed behind it, and what follows is never looked at. So it is
    with what is not HTTP, or over a bound, behind requests that were: each of them has its own
    answer first. So have all that came whole from who half-closes the connection (RFC 9112, 9.6).
    No request is answered twice.
    """

    _times: ConnectionTimes
    _head: HeadBytes
    _told = False
    #: whether the other side sends nothing more
    _ended = False
    #: what is wrong with the request being parsed, when it is HTTP
    _wrong: Problem | None = None
    #: told once what was asked before it is answered
    _owed: Problem | None = None
    #: the one being answered; uvicorn's own ``cycle`` is the newest, which may wait behind it
    _answering: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Let a connection in, or tell it that there are too many."""
        super().connection_made(transport)
        self._times = ConnectionTimes(transport, self.loop)
        self._head = HeadBytes()
        if len(self.connections) > most_connections():
            self._write(Unavailable())
            self._times.close()
            return
        self._times.await_message()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting for it, and tell what is being answered.

        uvicorn tells the newest request alone: an earlier one would write on, which is an error.
        """
        self._times.lost()
        super().connection_lost(exc)
        if self._answering is not None and not self._answering.response_complete:
            self._answering.disconnected = True
            self._answering.message_event.set()

    def pause_writing(self) -> None:
        """Wait for the other side to read, and no longer than it may take."""
        super().pause_writing()
        self._times.await_reader()

    def resume_writing(self) -> None:
        """Stop waiting: it reads."""
        super().resume_writing()
        self._times.was_read()

    def on_response_complete(self) -> None:
        """Serve on; of a connection that is to close, wait until its answer was read."""
        super().on_response_complete()
        self._tell_owed()
        self._times.await_reader_of_last()

    def timeout_keep_alive_handler(self) -> None:
        """Close what is idle, even if it has not read what it was answered."""
        super().timeout_keep_alive_handler()
        self._times.await_reader_of_last()

    def shutdown(self) -> None:
        """Close once what was asked is answered."""
        super().shutdown()
        self._times.await_reader_of_last()

    def data_received(self, data: bytes) -> None:
        """Take what arrived, unless a head has grown past the bound, or what is no body has."""
        if self._told or self.transport.is_closing():
            return
        self._head.arrived(len(data))
        if self._head.in_head:
            self._times.await_message()
            if self._head.over:
                self._refuse(HeadTooLarge())
                return
        super().data_received(data)
        if self._head.over and not self._told:
            self._refuse(HeadTooLarge())

    def eof_received(self) -> bool:  # type: ignore[override] # uvicorn closes, whatever is asked
        """Answer what came whole, each in its turn, and close; say whether there is any such.

        Of a request that did not, half a head is nothing, and half a body is answered 400.
        """
        if not (self._told or self._head.in_head):
            self._refuse(BadRequest())
        if not self._answers or self.transport.is_closing():
            return False
        self._ended = True
        if self._owed is None:
            self.cycle.keep_alive = False
        self._times.await_answer()
        return True

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        self._head.body_came(len(body))
        super().on_body(body)

    def on_url(self, url: bytes) -> None:
        """Take a piece of the path and the query, unless they have grown past their bound."""
        super().on_url(url)
        self._head.took(url)
        if len(self.url) > MAX_TARGET_BYTES:
            self._take_no_more(HeadTooLarge())

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, unless there are too many, or it comes behind the body.

        A trailer is no header (RFC 9110, 6.5.1): who stands in front sees none there, and what it
        says of who asks would count for us alone.
        """
        if not self._head.in_head:
            self._take_no_more(BadRequest())
        super().on_header(name, value)
        self._head.took(name, value, b": \r\n")
        if len(self.headers) > MAX_HEADERS or self._head.over:
            self._take_no_more(HeadTooLarge())

    def on_headers_complete(self) -> None:
        """Begin to answer, or to wait, if the head is clear: what follows is a body.

        Of too many that wait the newest waits on to be refused, and is the last one read. So is
        one that would rather speak another protocol: what follows could be of that.
        """
        upgrade, version = self.parser.should_upgrade(), self.parser.get_http_version()
        if doubt := doubt_in(self.url, self.headers, version, upgrade=upgrade):
            self._take_no_more(BadRequest(doubt))
        self.url = origin_form(self.url)
        super().on_headers_complete()
        self._head.end()
        if upgrade:
            self._told = True
            self.cycle.keep_alive = False
        if len(self.pipeline) > MAX_WAITING:
            self._told = True
            self._times.message_came()
            cycle, _ = self.pipeline.popleft()
            cycle.keep_alive = False
            self.pipeline.appendleft((cycle, _too_many))
            raise _EnoughError

    def on_message_complete(self) -> None:
        """Know a request whole: what follows is the head of the next."""
        self._head.begin()
        self._times.message_came()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words are not ours
        """Answer what is not HTTP, not clear, or over a bound."""
        if not self._told:
            self._refuse(self._wrong or BadRequest())

    def _start_asgi_task(
        self, cycle: RequestResponseCycle, app: Callable[..., Awaitable[None]]
    ) -> None:
        self._answering = cycle
        if self._ended:
            self._times.await_answer()
        super()._start_asgi_task(cycle, app)

    def _take_no_more(self, problem: Problem) -> NoReturn:
        """Have the parser stop here, and ``problem`` be answered to what it parses."""
        self._wrong = problem
        raise _EnoughError

    def _refuse(self, problem: Problem) -> None:
        """Look at nothing more, and answer ``problem`` in its turn.

        It is the answer to a request that came in part; if that has begun one, only close.
        """
        self._told = True
        self._times.message_came()
        if self._head.in_head or self._given_up(self.cycle):
            self._owed = problem
            self._tell_owed()
        elif self.cycle.response_complete:
            self._times.close_soon()
        else:
            self._times.close()

    def _given_up(self, cycle: RequestResponseCycle) -> bool:
        """Take no answer from a request that came in part; say whether it has begun none."""
        if self.pipeline and self.pipeline[0][0] is cycle:
            self.pipeline.popleft()
        elif cycle.response_started:
            return False
        else:
            cycle.disconnected = True
            cycle.message_event.set()
        return True

    @property
    def _answers(self) -> bool:
        """Whether an answer is being made; behind it others may wait."""
        answering = self._answering
        return answering is not None and not (answering.response_complete or answering.disconnected)

    def _tell_owed(self) -> None:
        if self._owed is None or self._answers or self.transport.is_closing():
            return
        self._write(self._owed)
        self._owed = None
        self._times.close_soon()

    def _write(self, problem: Problem) -> None:
        headers, body = problem_unasked(problem)
        lines = [*self.server_state.default_headers, *headers, (b"connection", b"close")]
        head = b"".join(b"%b: %b\r\n" % line for line in lines)
        self.transport.write(STATUS_LINE[problem.status] + head + b"\r\n" + body)


async def _too_many(_scope: object, _receive: object, send: Callable[[Any], Any]) -> None:
    headers, body = problem_unasked(TooManyRequests(retry_after_s=1))
    await send({"type": "http.response.start", "status": 429, "headers": headers})
    await send({"type": "http.response.body", "body": body})
