"""HTTP/1.1 with a bound on the head of a request, which uvicorn's httptools protocol lacks.

Without it one connection that sends a header value without end is parsed again and again, and
everybody else waits. A head past the bound closes its connection: no request has begun, so there
is nobody to answer.
"""

from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: bytes of request line and headers together; what one read brings beside them counts too
MAX_HEAD_BYTES: Final = 262_144


class BoundedProtocol(HttpToolsProtocol):
    """Closes a connection whose request head does not end within :data:`MAX_HEAD_BYTES`."""

    _in_head = True
    _head_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Take what arrived, unless a head has grown past the bound."""
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.transport.close()
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
        super().on_message_complete()
