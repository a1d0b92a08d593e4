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

#: headers of one value that decide for whom a request is, who asks, what its body is, what is done
#: once, and what is recorded
_SINGLE: Final = frozenset(
    {
        b"authorization",
        b"content-length",
        b"content-type",
        b"host",
        b"idempotency-key",
        b"purpose",
        b"transfer-encoding",
        b"user-agent",
        b"x-request-id",
    }
)
#: a target that names its host (RFC 9112, 3.2.2): the authority, and what follows it
_ABSOLUTE: Final = re.compile(rb"https?://([^/?#:][^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
#: a name, an IPv4 address or a bracketed IPv6 address, and a port; a name has no comma here, which
#: is what two hosts would be joined with
_HOST: Final = re.compile(
    rb"(?:\[([0-9A-Fa-f:.]+)\]|(?:[A-Za-z0-9._~!$&'()*+;=-]|%[0-9A-Fa-f]{2})*)(?::([0-9]{0,5}))?"
)


class HeadBytes:
    """Counts what one connection brings that is no body.

    That is a head; or what came since without bringing any of the body: sizes of chunks, their
    extensions, trailers. Of a read that brought a head's end or a piece of a body too, all that is
    no body counts: how much of it came behind, the parser does not say.
    """

    def __init__(self) -> None:
        self.in_head = True
        self._bytes = 0
        self._taken = 0
        #: of the latest read, without the body it brought
        self._read = 0

    @property
    def over(self) -> bool:
        """Whether more has come than :data:`MAX_HEAD_BYTES`."""
        return max(self._bytes, self._taken) > MAX_HEAD_BYTES

    def arrived(self, size: int) -> None:
        """Count ``size`` bytes that one read brought and that are parsed next."""
        self._read = size
        self._bytes += size

    def body_came(self, size: int) -> None:
        """Count anew, without ``size`` bytes that the read brought of a body."""
        self._read -= size
        self._bytes = self._read

    def took(self, *pieces: bytes) -> None:
        """Count what the parser made of a head, whatever else the reads brought it came in."""
        self._taken += sum(map(len, pieces))

    def begin(self) -> None:
        """Count anew: what follows is the head of the next request."""
        self.in_head = True
        self._bytes = self._taken = 0

    def end(self) -> None:
        """Count anew: what follows, in this read already, is a body, which has its own bound."""
        self.in_head = False
        self._bytes = self._read


def origin_form(target: bytes) -> bytes:
    """Return path and query of a target that names its host too; every other one as it is.

    The parser takes a query without a path for a path (RFC 9112, 3.2.1 and 3.2.2).
    """
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        return target
    return absolute[2] if absolute[2].startswith(b"/") else b"/" + absolute[2]


def doubt_in(
    target: bytes, headers: Sequence[tuple[bytes, bytes]], version: str, *, upgrade: bool
) -> str | None:
    """Say what of a head that came whole leaves a doubt; ``None`` when it is clear.

    That is for whom its request is, where it ends, or what it says. What has one value comes once
    (RFC 9110, 5.3). It names one host, which may be empty; before HTTP/1.1 it need not (RFC 9112,
    3.2); a host in the target is the same, letter case apart (3.2.2). Transfer-Encoding is unknown
    before HTTP/1.1 (6.1), and is chunked and nothing else; beside a Content-Length it is refused by
    the parser already. With a body it asks for no other protocol (RFC 9110, 7.8): the parser takes
    nothing behind such a head for a body, and would take for a request what one in front takes for
    one. ``headers`` have names in lower case.
    """
    modern = version >= "1.1"
    single: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in single:
            return f"{name.decode()} comes twice"
        if name in _SINGLE:
            single[name] = value.strip(b" \t")
    host, coding = single.get(b"host"), single.get(b"transfer-encoding")
    if modern if host is None else not _is_host(host):
        return "host is not one name or address, with or without a port"
    if not _is_target(target, host):
        return "the target is no path of the host"
    if coding is not None and not (modern and coding.lower() == b"chunked"):
        return "transfer-encoding is not chunked alone"
    if upgrade and (coding or single.get(b"content-length", b"").strip(b"0")):
        return "a request to upgrade has a body"
    return None


def _is_target(target: bytes, host: bytes | None) -> bool:
    """Say whether ``target`` is a path and a query, or names ``host`` before them where that is.

    A fragment is none of it (RFC 9112, 3.2).
    """
    if b"#" in target:
        return False
    if target.startswith(b"/") or target == b"*":
        return True
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        return False
    named: bytes = absolute[1]
    return _is_host(named) and named.lower() == (named if host is None else host).lower()


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
