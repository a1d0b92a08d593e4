"""The rules, in order, and one signal folded by all of them.

Owns the registry. Never decides anything itself and never keeps a state; how states are stored is
said in :mod:`services.audit.detection.states`. In the flow: signals → here → findings → alerts.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import msgspec

from services.audit.detection import (
    account_failures,
    address_failures,
    many_resets,
    out_of_hours,
    position_set_aside,
    reset_then_used,
    shared_mailbox,
    simultaneous_sessions,
)
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
    fold: Callable[[Any, Signal], tuple[msgspec.Struct, list[Finding]]]
    parts: str
    touches: Callable[[Signal], "Key | None"]


#: what a rule remembers something by
Key = str | date


def _rule(of: Any, version: int, parts: str, *also: str) -> Rule:  # noqa: ANN401 - a module
    """Return the rule of a module; ``also`` are the other rules its findings name."""
    return Rule(
        name=of.NAME,
        version=version,
        types=of.TYPES,
        emits=frozenset({of.NAME, *also}),
        state=of.State,
        fold=of.fold,
        parts=parts,
        touches=of.touches,
    )


RULES: Final = (
    _rule(out_of_hours, 2, "reported"),
    _rule(account_failures, 3, "by_key", account_failures.THEN_SUCCESS),
    _rule(address_failures, 3, "by_key", account_failures.THEN_SUCCESS),
    _rule(reset_then_used, 2, "by_person"),
    _rule(many_resets, 2, "by_person"),
    _rule(simultaneous_sessions, 2, "by_person"),
    _rule(position_set_aside, 1, "remembered"),
    _rule(shared_mailbox, 1, "remembered"),
)

TYPES: Final = frozenset().union(*(rule.types for rule in RULES))
FINDING_RULES: Final = frozenset().union(*(rule.emits for rule in RULES))

_INTERESTED: Final = {kind: tuple(r for r in RULES if kind in r.types) for kind in TYPES}

States = dict[str, msgspec.Struct]


def initial() -> States:
    """Every rule before the first signal."""
    return {rule.name: rule.state() for rule in RULES}


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


def touched(signal: Signal) -> Iterator[Part]:
    """Return the parts that a signal may have changed; every other one is as it was."""
    for rule in _INTERESTED.get(signal.type, ()):
        key = rule.touches(signal)
        if key is not None:
            yield rule.name, key
