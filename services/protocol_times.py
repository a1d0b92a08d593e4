"""How long a connection may take: to bring a request, to read its answers, and to be gone."""

import asyncio
import socket
import struct
from typing import Final

#: within which a connection's first request, and every request that began, must have come whole.
#: A body that an application reads is given up sooner, with an answer.
MESSAGE_S: Final = 15.0
#: within which an answer that waits to be read must have been: from when more waits than the kernel
#: and the transport's buffer hold, or from when the connection is closed; and each answer to who
#: sends nothing more must have been made
ANSWER_S: Final = 30.0
#: how long one that is told why still sends into nothing: closed at once, with bytes unread, its
#: answer would be lost on the way (RFC 9112, 9.6)
_LINGER_S: Final = 1.0
#: SO_LINGER on, for no time: closing sends a reset and forgets what was not sent
_NO_LINGER: Final = struct.pack("ii", 1, 0)


class ConnectionTimes:
    """Closes one connection whose request is late, and resets it when its answers are not read.

    It is told what happens on the connection, and waits for nothing more once that is lost.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._lost = False
        self._too_late: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def await_message(self) -> None:
        """Wait for a whole request, :data:`MESSAGE_S` from when this was first said."""
        if self._too_late is None:
            self._too_late = self._loop.call_later(MESSAGE_S, self.close)

    def message_came(self) -> None:
        """Stop waiting for a request."""
        if self._too_late is not None:
            self._too_late.cancel()
            self._too_late = None

    def await_answer(self) -> None:
        """Wait for no request any more, but :data:`ANSWER_S` from now for an answer.

        Who sends nothing more may be gone, and whoever answers would not learn it.
        """
        self.message_came()
        self._too_late = self._loop.call_later(ANSWER_S, self.close)

    def await_reader(self) -> None:
        """Wait for the other side to read, :data:`ANSWER_S` from when this was first said."""
        if self._unread is None:
            self._unread = self._loop.call_later(ANSWER_S, self._reset)

    def was_read(self) -> None:
        """Stop waiting for a reader, unless the connection is to go: then all must be read."""
        if not self._transport.is_closing():
            self._forget_reader()

    def await_reader_of_last(self) -> None:
        """Wait for who reads from a closed transport: else it stays until all was read."""
        if self._transport.is_closing() and not self._lost:
            self.await_reader()

    def close(self) -> None:
        """Close once what was written is read, and no later than :data:`ANSWER_S` from now."""
        self._transport.close()
        self.await_reader_of_last()

    def close_soon(self) -> None:
        """Write nothing more; close once the last that was written had its time to arrive."""
        self._transport.write_eof()
        self._loop.call_later(_LINGER_S, self.close)

    def lost(self) -> None:
        """Wait for nothing more: the connection is gone."""
        self._lost = True
        self.message_came()
        self._forget_reader()

    def _forget_reader(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _reset(self) -> None:
        """Drop the connection; closed instead, the kernel would hold what nobody reads on."""
        connected = self._transport.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._transport.abort()
