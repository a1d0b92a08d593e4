"""How the states of the rules are stored: a head, and one part for each key that a rule remembers.

A key is an account, an address, a person, a day. Owns the encoding and nothing else: whoever folds
the log stores the bytes beside the position they belong to, in one transaction, and starts again
from 0 when they cannot be decoded.
"""

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any, Final
from uuid import UUID

import msgspec

from services.audit.detection.rules import RULES, Key, Part, Rule, States

#: the name of what is stored beside the parts
HEAD: Final = "rules"


class StateError(ValueError):
    """Stored states are not those of the rules here: fold the log again from the start."""


class Head(msgspec.Struct, frozen=True):
    """What is not in parts: each rule's, how many parts there are, and the last event folded."""

    states: States
    parts: int
    last: UUID | None


def parts(states: States) -> Iterator[Part]:
    """Return every part there is."""
    return ((rule.name, key) for rule in RULES for key in _held(states, rule))


def count(states: States) -> int:
    """Return how many parts there are."""
    return sum(len(_held(states, rule)) for rule in RULES)


def name_of(part: Part) -> str:
    """Return the name a part is stored under: of bounded length, whatever the key."""
    rule, key = part
    return f"{rule}/{blake2b(str(key).encode(), digest_size=16).hexdigest()}"


def encode_head(states: States, last: UUID | None = None) -> bytes:
    """Write what is not in parts as JSON, each rule's with its version."""
    bare = {r.name: _Stored(r.version, _with_parts(states[r.name], r, {})) for r in RULES}
    return msgspec.json.encode(_StoredHead(bare, count(states), last))


def encode_part(states: States, part: Part) -> bytes | None:
    """Write one part as JSON; `None` when the rule does not remember it."""
    held, key = _held(states, _BY_NAME[part[0]]), part[1]
    return msgspec.json.encode({key: held[key]}) if key in held else None


def encode(states: States) -> dict[str, bytes]:
    """Write the states whole: the head and every part, by name."""
    written = {name_of(part): encode_part(states, part) for part in parts(states)}
    return {HEAD: encode_head(states)} | {n: data for n, data in written.items() if data}


def decode_head(data: bytes) -> Head:
    """Read a head, its states without parts; StateError when of other rules or damaged."""
    try:
        stored = msgspec.json.decode(data, type=_RawHead)
        if {name: raw.version for name, raw in stored.rules.items()} != _VERSIONS:
            message = f"states of other rules: {sorted(stored.rules)}"
            raise StateError(message)
        states = {
            r.name: msgspec.json.decode(stored.rules[r.name].state, type=r.state) for r in RULES
        }
    except msgspec.MsgspecError as error:
        raise _undecodable() from error
    return Head(states, stored.parts, stored.last)


def take(states: States, stored: Mapping[str, bytes]) -> None:
    """Put stored parts into `states`, in place of those they have; StateError when damaged."""
    try:
        for name, data in stored.items():
            rule = _BY_NAME[name.partition("/")[0]]
            _held(states, rule).update(_DECODERS[rule.name].decode(data))
    except (msgspec.MsgspecError, KeyError) as error:
        raise _undecodable() from error


def succeed(states: States, head: Head) -> States:
    """Return the states of `head` with the parts of `states`."""
    return {r.name: _with_parts(head.states[r.name], r, _held(states, r)) for r in RULES}


def drop(states: States, part: Part) -> None:
    """Forget a part."""
    del _held(states, _BY_NAME[part[0]])[part[1]]


def decode(stored: Mapping[str, bytes]) -> States:
    """Read states whole; StateError when of other rules, of another version, or damaged."""
    states = decode_head(stored.get(HEAD, b"{}")).states
    take(states, {name: data for name, data in stored.items() if name != HEAD})
    return states


def _undecodable() -> StateError:
    return StateError("states cannot be decoded")


def _held(states: States, rule: Rule) -> dict[Key, Any]:
    held: dict[Key, Any] = getattr(states[rule.name], rule.parts)
    return held


def _with_parts(state: msgspec.Struct, rule: Rule, held: dict[Key, Any]) -> msgspec.Struct:
    return msgspec.structs.replace(state, **{rule.parts: held})


_VERSIONS: Final = {rule.name: rule.version for rule in RULES}
_BY_NAME: Final = {rule.name: rule for rule in RULES}
_DECODERS: Final[Mapping[str, msgspec.json.Decoder[Any]]] = {
    rule.name: msgspec.json.Decoder(field.type)
    for rule in RULES
    for field in msgspec.structs.fields(rule.state)
    if field.name == rule.parts
}


class _Stored(msgspec.Struct):
    version: int
    state: msgspec.Struct


class _StoredHead(msgspec.Struct):
    rules: dict[str, _Stored]
    parts: int
    last: UUID | None


class _Raw(msgspec.Struct):
    version: int
    state: msgspec.Raw


class _RawHead(msgspec.Struct):
    rules: dict[str, _Raw]
    parts: int
    last: UUID | None
