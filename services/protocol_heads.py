"""Which head of a request is taken: how large it may be, and that it leaves nothing in doubt.

What two who read the same bytes could take for two different requests is refused: whoever stands
in front decides by its own reading (RFC 9112, 11.2).
"""

from collections.abc import Sequence
from typing import Final

#: bytes of request line and headers together; what one read brings beside them counts too
MAX_HEAD_BYTES: Final = 262_144
#: of a path with its query, in bytes: every parameter of a query is looked at
MAX_TARGET_BYTES: Final = 16_384
MAX_HEADERS: Final = 100


class HeadBytes:
    """Counts what one connection brings that is no body.

    That is a head; or what came since without bringing any of the body: sizes of chunks, their
    extensions, trailers.
    """

    def __init__(self) -> None:
        self.in_head = True
        self._bytes = 0
        self._brought = False

    @property
    def over(self) -> bool:
        """Whether more has come than :data:`MAX_HEAD_BYTES`."""
        return self._bytes > MAX_HEAD_BYTES

    def arrived(self, size: int) -> None:
        """Count ``size`` bytes that one read brought and that are parsed next."""
        self._bytes += size
        self._brought = False

    def body_came(self) -> None:
        """Know that this read brings a piece of a body: the next may bring as much beside it."""
        self._brought = True

    def parsed(self) -> None:
        """End a read: one that brought a piece of a body counts for nothing."""
        if self._brought:
            self._bytes = 0

    def begin(self) -> None:
        """Count anew: what follows is the head of the next request."""
        self.in_head = True
        self._bytes = 0

    def end(self) -> None:
        """Count anew: what follows is a body, which has a bound of its own."""
        self.in_head = False
        self._bytes = 0


def is_clear(headers: Sequence[tuple[bytes, bytes]], version: str, *, upgrade: bool) -> bool:
    """Say whether a head that came whole leaves no doubt for whom its request is and where it ends.

    It names one host, which may be empty; before HTTP/1.1 it need not (RFC 9112, 3.2), and knows no
    Transfer-Encoding (6.1). That beside a Content-Length is refused by the parser already. With a
    body it asks for no other protocol (RFC 9110, 7.8): the parser takes nothing behind such a head
    for a body, and would take for a request what one in front takes for one. ``headers`` have
    names in lower case.
    """
    modern = version >= "1.1"
    names = [name for name, _ in headers]
    hosts = names.count(b"host")
    if hosts > 1 or (modern and hosts == 0):
        return False
    if not modern and b"transfer-encoding" in names:
        return False
    return not (upgrade and any(_announces_body(*header) for header in headers))


def _announces_body(name: bytes, value: bytes) -> bool:
    return name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0") != b"")
