"""Which head of a request is taken: how large it may be, and that it leaves nothing in doubt.

What two who read the same bytes could take for two different requests is refused: whoever stands
in front decides by its own reading (RFC 9112, 11.2).
"""

import re
from collections.abc import Sequence
from ipaddress import AddressValueError, IPv6Address
from typing import Final

#: bytes of request line and headers together; what one read brings beside them counts too
MAX_HEAD_BYTES: Final = 262_144
#: of a path with its query, in bytes: every parameter of a query is looked at
MAX_TARGET_BYTES: Final = 16_384
MAX_HEADERS: Final = 100

#: headers of one value that decide for whom a request is, who asks, and what its body is
_SINGLE: Final = frozenset(
    {b"authorization", b"content-length", b"content-type", b"host", b"transfer-encoding"}
)
#: a name, an IPv4 address or a bracketed IPv6 address, and a port; a name has no comma here, which
#: is what two hosts would be joined with
_HOST: Final = re.compile(
    rb"(?:\[([0-9A-Fa-f:.]+)\]|(?:[A-Za-z0-9._~!$&'()*+;=-]|%[0-9A-Fa-f]{2})*)(?::([0-9]{0,5}))?"
)


class HeadBytes:
    """Counts what one connection brings that is no body.

    That is a head; or what came since without bringing any of the body: sizes of chunks, their
    extensions, trailers.
    """

    def __init__(self) -> None:
        self.in_head = True
        self._bytes = 0
        self._taken = 0
        self._brought = False

    @property
    def over(self) -> bool:
        """Whether more has come than :data:`MAX_HEAD_BYTES`."""
        return max(self._bytes, self._taken) > MAX_HEAD_BYTES

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

    def took(self, *pieces: bytes) -> None:
        """Count what the parser made of a head, whatever else the reads brought it came in."""
        self._taken += sum(map(len, pieces))

    def begin(self) -> None:
        """Count anew: what follows is the head of the next request."""
        self.in_head = True
        self._bytes = self._taken = 0

    def end(self) -> None:
        """Count anew: what follows is a body, which has a bound of its own."""
        self.in_head = False
        self._bytes = 0


def is_clear(headers: Sequence[tuple[bytes, bytes]], version: str, *, upgrade: bool) -> bool:
    """Say whether a head that came whole leaves no doubt for whom its request is and where it ends.

    What has one value comes once (RFC 9110, 5.3). It names one host, which may be empty; before
    HTTP/1.1 it need not (RFC 9112, 3.2), and knows no Transfer-Encoding (6.1). That is chunked and
    nothing else; beside a Content-Length it is refused by the parser already. With a body it asks
    for no other protocol (RFC 9110, 7.8): the parser takes nothing behind such a head for a body,
    and would take for a request what one in front takes for one. ``headers`` have names in lower
    case.
    """
    modern = version >= "1.1"
    single: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in single:
            return False
        if name in _SINGLE:
            single[name] = value.strip(b" \t")
    host, coding = single.get(b"host"), single.get(b"transfer-encoding")
    return (
        (not modern if host is None else _is_host(host))
        and (coding is None or (modern and coding.lower() == b"chunked"))
        and not (upgrade and (coding or single.get(b"content-length", b"").strip(b"0")))
    )


def _is_host(value: bytes) -> bool:
    """Say whether it is ``host[:port]``, either of them possibly empty (RFC 3986, 3.2.2)."""
    found = _HOST.fullmatch(value)
    if found is None:
        return False
    address, port = found.groups()
    try:
        if address is not None:
            IPv6Address(address.decode())
    except AddressValueError:
        return False
    return int(port or b"0") < 1 << 16
