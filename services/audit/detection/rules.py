"""The rules, in order, and their states together.

Owns the registry and the encoding of states: a head, and one part for each key (an account, an
address, a day) that a rule remembers. Never decides anything itself and never keeps a state:
whoever folds the log stores the bytes beside the position they belong to, in one transaction, and
starts again from 0 when they cannot be decoded. In the flow: signals → here → findings → alerts.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from hashlib import blake2b
from typing import Any, Final

import msgspec

from services.audit.detection import account_failures, address_failures, out_of_hours
from services.audit.detection.signals import Finding, Signal


@dataclass(frozen=True, slots=True)
class Rule:
    """One fold. `types` are the events it looks at; `emits` the rules its findings name.

    `version` changes with the meaning of the state: then it is folded again from the start.
    `parts` is the state's mapping of what it remembers by key, `touches` the one key a signal may
    change in it.
    """

    name: str
    version: int
    types: frozenset[str]
    emits: frozenset[str]
    state: type[msgspec.Struct]
    initial: Callable[[], msgspec.Struct]
    fold: Callable[[Any, Signal], tuple[msgspec.Struct, list[Finding]]]
    parts: str
    touches: Callable[[Signal], "Key | None"]


#: what a rule remembers something by
Key = str | date


RULES: Final = (
    Rule(
        name=out_of_hours.NAME,
        version=2,
        types=out_of_hours.TYPES,
        emits=frozenset({out_of_hours.NAME}),
        state=out_of_hours.State,
        initial=out_of_hours.initial,
        fold=out_of_hours.fold,
        parts="reported",
        touches=out_of_hours.touches,
    ),
    Rule(
        name=account_failures.NAME,
        version=2,
        types=account_failures.TYPES,
        emits=frozenset({account_failures.NAME, account_failures.THEN_SUCCESS}),
        state=account_failures.State,
        initial=account_failures.initial,
        fold=account_failures.fold,
        parts="by_account",
        touches=account_failures.touches,
    ),
    Rule(
        name=address_failures.NAME,
        version=2,
        types=address_failures.TYPES,
        emits=frozenset({address_failures.NAME, account_failures.THEN_SUCCESS}),
        state=address_failures.State,
        initial=address_failures.initial,
        fold=address_failures.fold,
        parts="by_address",
        touches=address_failures.touches,
    ),
)

TYPES: Final = frozenset().union(*(rule.types for rule in RULES))
FINDING_RULES: Final = frozenset().union(*(rule.emits for rule in RULES))

_INTERESTED: Final = {kind: tuple(r for r in RULES if kind in r.types) for kind in TYPES}

States = dict[str, msgspec.Struct]


class StateError(ValueError):
    """Stored states are not those of the rules here: fold the log again from the start."""


def initial() -> States:
    """Every rule before the first signal."""
    return {rule.name: rule.initial() for rule in RULES}


def fold_all(states: States, signal: Signal) -> tuple[States, list[Finding]]:
    """Every rule over one signal, findings in the order of the rules. Consumes `states`.

    Total and deterministic: the same signals give the same findings, wherever between two of
    them the states were encoded and decoded.
    """
    found: list[Finding] = []
    for rule in _INTERESTED.get(signal.type, ()):
        states[rule.name], findings = rule.fold(states[rule.name], signal)
        found += findings
    return states, found


#: one key of a rule's memory: the rule's name, and the key
Part = tuple[str, Key]
#: the name of what is stored beside the parts
HEAD: Final = "rules"


def touched(signal: Signal) -> Iterator[Part]:
    """Return the parts that a signal may have changed; every other one is as it was."""
    for rule in _INTERESTED.get(signal.type, ()):
        key = rule.touches(signal)
        if key is not None:
            yield rule.name, key


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


def encode_head(states: States) -> bytes:
    """Write what is not in parts as JSON, each rule's with its version."""
    return msgspec.json.encode(
        {r.name: _Stored(r.version, _with_parts(states[r.name], r, {})) for r in RULES}
    )


def encode_part(states: States, part: Part) -> bytes | None:
    """Write one part as JSON; `None` when the rule does not remember it."""
    held, key = _held(states, _BY_NAME[part[0]]), part[1]
    return msgspec.json.encode({key: held[key]}) if key in held else None


def encode(states: States) -> dict[str, bytes]:
    """Write the states whole: the head and every part, by name."""
    written = {name_of(part): encode_part(states, part) for part in parts(states)}
    return {HEAD: encode_head(states)} | {n: data for n, data in written.items() if data}


def decode(stored: Mapping[str, bytes]) -> States:
    """Read states; StateError when of other rules, of another version, or damaged."""
    try:
        states = _decode_head(stored.get(HEAD, b"{}"))
        for name, data in stored.items():
            if name != HEAD:
                rule = _BY_NAME[name.partition("/")[0]]
                _held(states, rule).update(_DECODERS[rule.name].decode(data))
    except (msgspec.MsgspecError, KeyError) as error:
        message = "states cannot be decoded"
        raise StateError(message) from error
    return states


def _decode_head(data: bytes) -> States:
    stored = msgspec.json.decode(data, type=dict[str, _Raw])
    if {name: raw.version for name, raw in stored.items()} != _VERSIONS:
        message = f"states of other rules: {sorted(stored)}"
        raise StateError(message)
    return {r.name: msgspec.json.decode(stored[r.name].state, type=r.state) for r in RULES}


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


class _Raw(msgspec.Struct):
    version: int
    state: msgspec.Raw
