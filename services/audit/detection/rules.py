"""The rules, in order, and their states together.

Owns the registry and the encoding of states. Never decides anything itself and never keeps a
state: whoever folds the log stores the bytes beside the position they belong to, in one
transaction, and starts again from 0 when they cannot be decoded. In the flow: signals → here →
findings → alerts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from services.audit.detection import account_failures, address_failures, out_of_hours
from services.audit.detection.signals import Finding, Signal


@dataclass(frozen=True, slots=True)
class Rule:
    """One fold. `types` are the events it looks at; `emits` the rules its findings name.

    `version` changes with the meaning of the state: then it is folded again from the start.
    """

    name: str
    version: int
    types: frozenset[str]
    emits: frozenset[str]
    state: type[msgspec.Struct]
    initial: Callable[[], msgspec.Struct]
    fold: Callable[[Any, Signal], tuple[msgspec.Struct, list[Finding]]]


RULES: Final = (
    Rule(
        name=out_of_hours.NAME,
        version=1,
        types=out_of_hours.TYPES,
        emits=frozenset({out_of_hours.NAME}),
        state=out_of_hours.State,
        initial=out_of_hours.initial,
        fold=out_of_hours.fold,
    ),
    Rule(
        name=account_failures.NAME,
        version=1,
        types=account_failures.TYPES,
        emits=frozenset({account_failures.NAME, account_failures.THEN_SUCCESS}),
        state=account_failures.State,
        initial=account_failures.initial,
        fold=account_failures.fold,
    ),
    Rule(
        name=address_failures.NAME,
        version=1,
        types=address_failures.TYPES,
        emits=frozenset({address_failures.NAME, account_failures.THEN_SUCCESS}),
        state=address_failures.State,
        initial=address_failures.initial,
        fold=address_failures.fold,
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


def encode(states: States) -> bytes:
    """Write the states as JSON, each with its rule's version."""
    return msgspec.json.encode({r.name: _Stored(r.version, states[r.name]) for r in RULES})


def decode(data: bytes) -> States:
    """Read states; StateError when of other rules, of another version, or damaged."""
    try:
        stored = msgspec.json.decode(data, type=dict[str, _Raw])
        if {name: raw.version for name, raw in stored.items()} != _VERSIONS:
            message = f"states of other rules: {sorted(stored)}"
            raise StateError(message)
        return {r.name: msgspec.json.decode(stored[r.name].state, type=r.state) for r in RULES}
    except msgspec.MsgspecError as error:
        message = "states cannot be decoded"
        raise StateError(message) from error


_VERSIONS: Final = {rule.name: rule.version for rule in RULES}


class _Stored(msgspec.Struct):
    version: int
    state: msgspec.Struct


class _Raw(msgspec.Struct):
    version: int
    state: msgspec.Raw
