"""The Merkle tree over the bodies (RFC 6962), and their leaf hashes against those seen before."""

import hashlib
from collections.abc import Mapping
from typing import Final

from services.verification.findings import Wrong

_HASH: Final = 32


class Tree:
    """The Merkle tree of RFC 6962, section 2.1, kept as the roots of its perfect subtrees."""

    def __init__(self) -> None:
        self._subtrees: list[tuple[int, bytes]] = []

    def add(self, body: bytes) -> bytes:
        """Add the next leaf and return its hash."""
        leaf = hashlib.sha256(b"\0" + body).digest()
        size, node = 1, leaf
        while self._subtrees and self._subtrees[-1][0] == size:
            node = hashlib.sha256(b"\1" + self._subtrees.pop()[1] + node).digest()
            size *= 2
        self._subtrees.append((size, node))
        return leaf

    def root(self) -> str:
        """Return the root in hexadecimal."""
        if not self._subtrees:
            return hashlib.sha256(b"").hexdigest()
        node = self._subtrees[-1][1]
        for _, left in reversed(self._subtrees[:-1]):
            node = hashlib.sha256(b"\1" + left + node).digest()
        return node.hex()


class Leaves:
    """The leaf hashes of the log, compared with those ``witnessed``, one after another from 0."""

    def __init__(self, witnessed: bytes) -> None:
        self._witnessed = witnessed
        #: those that were not witnessed
        self.fresh: list[bytes] = []

    def compare(self, position: int, leaf: bytes, aside: Mapping[int, str]) -> None:
        """Raise unless the event is what it was, when it was seen and when it was set aside."""
        if aside.get(position, leaf.hex()) != leaf.hex():
            raise Wrong(position, "the event is not what it was when it was set aside")
        known = self._witnessed[position * _HASH : (position + 1) * _HASH]
        if not known:
            self.fresh.append(leaf)
        elif known != leaf:
            raise Wrong(position, "the event is not what it was when it was first seen")

    def end(self, count: int) -> None:
        """Raise when more were witnessed than the ``count`` there are."""
        if count < len(self._witnessed) // _HASH:
            raise Wrong(count, "the event is missing; it was there when the log was last seen")
