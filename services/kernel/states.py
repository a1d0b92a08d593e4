"""How a projection keeps a folded state in one column: MessagePack, with ids as their 16 bytes.

About half as long as JSON, and read in about half the time. Never in the log, whose bytes people
must be able to read; a state that a build cannot read is rebuilt from there.
"""

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

T = TypeVar("T")

#: The bytes of a state. Equal states give equal bytes.
encode: Final[Callable[[object], bytes]] = msgspec.msgpack.Encoder(
    uuid_format="bytes", order="deterministic"
).encode


def decoder(kind: type[T]) -> Callable[[bytes], T]:
    """Return what reads the state of a ``kind``; it raises ``msgspec.MsgspecError`` for others."""
    return msgspec.msgpack.Decoder(kind).decode
