"""The form of one body, derived anew: its header line, its canonical JSON, what it touches.

Pure: looks at one event's bytes and at nothing beside them. Each function raises
:class:`Wrong` with the position it was given.
"""

import hashlib
import json
import re
from typing import Any, Final, NamedTuple

from services.verification.findings import Wrong

_LIMIT: Final = 65_535
_HEADER: Final = re.compile(
    rb"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
    rb" ([a-z_]+\.[a-z_]+) (?:(-) -|([a-z0-9:._-]+) ([1-9][0-9]*))"
)
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


class Stated(NamedTuple):
    """What the header line states; stream and version of a fact."""

    id: str
    type: str
    stream: str | None
    version: int | None


def parted(position: int, body: bytes) -> tuple[Stated, bytes]:
    """Return what the header line of ``body`` states, and the JSON below it."""
    if len(body) > _LIMIT:
        raise Wrong(position, "the body is longer than 65,535 bytes")
    line, separator, text = body.partition(b"\n")
    header = _HEADER.fullmatch(line)
    if header is None or not separator:
        raise Wrong(position, "the body has no header line")
    stream = header[4].decode() if header[4] else None
    version = int(header[5]) if header[5] else None
    return Stated(header[1].decode(), header[2].decode(), stream, version), text


def canonical(payload: object) -> bytes:
    """Return the one way to write ``payload``: sorted keys, no white space, UTF-8."""
    text = json.dumps(
        payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def decoded(position: int, text: bytes) -> dict[str, Any]:
    """Return the JSON object in ``text``."""
    try:
        payload = json.loads(text.decode())
    except (ValueError, RecursionError):
        raise Wrong(position, "the body does not hold JSON") from None
    if not isinstance(payload, dict):
        raise Wrong(position, "the body does not hold a JSON object")
    return payload


def touched(position: int, text: bytes, *, fact: bool) -> list[str]:
    """Return the guard keys that the event touches; its JSON is in the one form there is."""
    payload = decoded(position, text)
    if not _is_canonical(payload, text):
        raise Wrong(position, "the JSON is not in canonical form")
    recorded = payload.get("recorded_at")
    if not isinstance(recorded, str) or not _TIME.fullmatch(recorded):
        raise Wrong(position, "recorded_at is not a time in UTC")
    touches = _touches(position, payload)
    if touches and not fact:
        raise Wrong(position, "an observation touches nothing")
    return touches


def claimed(text: bytes) -> list[str]:
    """Return the guard keys that a fact which was set aside says it touches.

    Of its JSON nothing else is looked at; when what it touches cannot be read, there are none.
    """
    try:
        return _touches(0, decoded(0, text))
    except Wrong:
        return []


def _is_canonical(payload: object, text: bytes) -> bool:
    try:
        return canonical(payload) == text
    except (ValueError, RecursionError):
        return False


def _touches(position: int, payload: dict[str, Any]) -> list[str]:
    touches = payload.get("touches", [])
    if not isinstance(touches, list) or not all(isinstance(t, str) for t in touches):
        raise Wrong(position, "touches is not a list of keys")
    return touches


def key_of(touch: str) -> int:
    """Return the number a guard key is kept as: its BLAKE2b of 64 bits, big-endian and signed."""
    # what was set aside may hold text that is none
    text = touch.encode(errors="surrogatepass")
    number = int(hashlib.blake2b(text, digest_size=8).hexdigest(), 16)
    return number - (1 << 64) if number >> 63 else number
