"""The event: its envelope, its canonical bytes, and the digests made of them.

An event's *body* is the only truth: ``header LF json``. The header line is
``id type stream version`` (``-`` where an observation has no stream), so that the database can
compare what it indexes with what is signed by comparing a prefix of bytes. The JSON after it has
sorted keys, no white space, and UTF-8. The leaf hash of RFC 6962 is SHA-256(0x00 || body).

Two kinds of event exist. A *fact* changes what is true: it belongs to a stream, has the next
version of it, and declares the keys it *touches*. An *observation* (a read, a login that failed,
a refusal) changes nothing, has no stream, and never collides with anything.

Which types of event there are is :mod:`services.kernel.event_types`. This module never talks to a
database and never opens sealed data.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from services.kernel.codes import Code

MAX_BODY_BYTES: Final = 65_535
#: the default of an event's id: the JSON leaves out what is the very default, and the id stands in
#: the header line
_NO_ID: Final = UUID(int=0)
#: stands in the header line where an observation has no stream, and for its version
NO_STREAM: Final = "-"


class Service(Code):
    """Who may append an event type; also the suffix of its database role."""

    AUTHZ = "authz"
    CASES = "cases"
    AUDIT = "audit"


class Outcome(Code):
    """How an attempt ended."""

    ALLOWED = "allowed"
    DENIED = "denied"
    FAILED = "failed"


class Actor(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who acted: a person, or a service client, for an organisation."""

    person_id: UUID | None = None
    client_id: str | None = None
    organisation_id: UUID | None = None


class Origin(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where from. ``sealed`` holds IP address, device and user agent under a period key."""

    sealed: str | None = None
    request_id: str | None = None
    session_id: UUID | None = None


class Ground(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which assignment and which clause let which parts be shown or done."""

    assignment_id: UUID
    role: str
    clause: str
    parts: tuple[str, ...] = ()


class ObjectRef(msgspec.Struct, frozen=True):
    """What was acted upon."""

    type: str
    id: str


_NO_ACTOR: Final = Actor()
_NO_ORIGIN: Final = Origin()


class Event(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One event. ``id``, ``type``, ``stream`` and ``version`` live in the header line only.

    ``data`` is the payload of the type; everything in it that is personal or free text is sealed
    (SG-18). ``shown`` maps each part to the ids disclosed. ``touches`` are guard keys.
    """

    id: UUID = _NO_ID
    type: str = ""
    schema: int = 1
    stream: str | None = None
    version: int | None = None
    recorded_at: datetime
    effective_at: datetime | None = None
    actor: Actor = _NO_ACTOR
    origin: Origin = _NO_ORIGIN
    action: str = ""
    outcome: Outcome = Outcome.ALLOWED
    grounds: tuple[Ground, ...] = ()
    policy_version: str | None = None
    purpose: str | None = None
    student_id: UUID | None = None
    object: ObjectRef | None = None
    organisation_id: UUID | None = None
    shown: Mapping[str, Sequence[str]] = {}
    touches: tuple[str, ...] = ()
    data: Mapping[str, Any] = {}


class Recorded(msgspec.Struct, frozen=True):
    """An event as the log holds it: its position, and its exact bytes."""

    position: int
    event: Event
    body: bytes


class CorruptEvent(Exception):  # noqa: N818 - a state of the world, not of the code
    """A body cannot be decoded, or its header differs from the columns beside it."""


class OversizedBody(ValueError):  # noqa: N818 - a state of the data
    """The canonical bytes of an event are more than the log takes."""


_json = msgspec.json.Encoder(order="sorted")
_event = msgspec.json.Decoder(Event)


def header(event: Event) -> str:
    """Return the header line without its line feed."""
    if event.stream is None:
        return f"{event.id} {event.type} {NO_STREAM} {NO_STREAM}"
    return f"{event.id} {event.type} {event.stream} {event.version}"


def encode(event: Event) -> bytes:
    """Return the canonical bytes of ``event``; raise :class:`OversizedBody` past 65,535."""
    payload = msgspec.structs.replace(
        event,
        id=_NO_ID,
        type="",
        stream=None,
        version=None,
        # Left out only when it is the very default: equal ones must give equal bytes.
        actor=_NO_ACTOR if event.actor == _NO_ACTOR else event.actor,
        origin=_NO_ORIGIN if event.origin == _NO_ORIGIN else event.origin,
    )
    body = header(event).encode() + b"\n" + _json.encode(payload)
    if len(body) > MAX_BODY_BYTES:
        raise OversizedBody("event body over 65,535 bytes")
    return body


def header_of(position: int, body: bytes) -> tuple[str, str, str, str]:
    """Return id, type, stream and version as the header line of ``body`` states them.

    Raises :class:`CorruptEvent` when it has none. An observation's stream is :data:`NO_STREAM`.
    """
    try:
        event_id, type_, stream, version = body.partition(b"\n")[0].decode().split(" ")
    except ValueError as error:
        raise CorruptEvent(f"position {position}") from error
    return event_id, type_, stream, version


def decode(position: int, body: bytes) -> Recorded:
    """Return the event in ``body``; raise :class:`CorruptEvent` when it is not one."""
    return decode_by(_event.decode, position, body)


def decode_by(read: Callable[[bytes], Event], position: int, body: bytes) -> Recorded:
    """Return the event in ``body`` with as much of its JSON as ``read`` makes of it.

    Raises :class:`CorruptEvent` when it is not one.
    """
    event_id, type_, stream, version = header_of(position, body)
    try:
        event = msgspec.structs.replace(
            read(body.partition(b"\n")[2]),
            id=UUID(event_id),
            type=type_,
            stream=None if stream == NO_STREAM else stream,
            version=None if version == NO_STREAM else int(version),
        )
    except (ValueError, msgspec.MsgspecError) as error:
        raise CorruptEvent(f"position {position}") from error
    return Recorded(position, event, body)


def leaf_hash(body: bytes) -> bytes:
    """Return the RFC 6962 leaf hash of a body."""
    return hashlib.sha256(b"\x00" + body).digest()


def guard_key(name: str) -> int:
    """Return the signed 64-bit digest under which the log keeps guard ``name``.

    A collision of two names costs one needless second decision, never a missed one.
    """
    return int.from_bytes(
        hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True
    )
