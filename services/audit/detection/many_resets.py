"""Rule `many_resets` (SG-9, SG-21): one person reset five accounts or more within a day.

A forced reset of many is an act of containment, and of somebody who takes accounts over; either
way somebody else should know at once. Owns the rule and its memory by who reset. In the flow:
signals → here → findings, of whom the person is who reset; whom they reset is in the evidence.
"""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from services.audit.detection import people, shares
from services.audit.detection.bursts import doubled
from services.audit.detection.signals import (
    CREDENTIALS_RESET,
    MOST_EVIDENCE,
    Finding,
    Signal,
    bounded,
    done,
)
from services.audit.events import Own

NAME: Final = "many_resets"
TYPES: Final = frozenset({CREDENTIALS_RESET})
THRESHOLD: Final = 5
DAY: Final = timedelta(days=1)


class Spell(msgspec.Struct, omit_defaults=True):
    """Resets by one person with never a day between them. ``first`` names it.

    `recent` are the times within a day, kept until the spell is reported; `shares` how many
    resets were made for each organisation.
    """

    first: UUID
    last: datetime
    resets: int = 0
    reported: int = 0
    recent: list[datetime] = msgspec.field(default_factory=list)
    evidence: list[UUID] = msgspec.field(default_factory=list)
    shares: dict[UUID, int] = msgspec.field(default_factory=dict)


class State(people.ByPerson[Spell]):
    """The spells, by who reset."""


def fold(state: State, signal: Signal) -> tuple[State, list[Finding]]:
    """Consumes `state`: use the one returned."""
    who = touches(signal)
    if who is None or not done(signal, CREDENTIALS_RESET) or signal.about == signal.person_id:
        return state, []
    people.sweep(state, signal, DAY)
    spell = state.by_person.get(who)
    if spell is None or abs(signal.occurred_at - spell.last) > DAY:
        spell = state.by_person[who] = Spell(signal.event_id, signal.occurred_at)
    _add(spell, signal)
    if not _due(spell, signal):
        return state, []
    spell.reported, spell.recent = spell.resets, []
    return state, [_finding(spell, signal)]


def touches(signal: Signal) -> str | None:
    """Return who reset."""
    return people.key(signal.person_id)


def _add(spell: Spell, signal: Signal) -> None:
    spell.last = max(spell.last, signal.occurred_at)
    spell.resets += 1
    shares.count(spell.shares, signal.organisation_id)
    if len(spell.evidence) < MOST_EVIDENCE:
        spell.evidence.append(signal.event_id)


def _due(spell: Spell, signal: Signal) -> bool:
    if spell.reported:
        return doubled(spell.resets, spell.reported)
    since = signal.occurred_at - DAY
    spell.recent = [at for at in (*spell.recent, signal.occurred_at) if at >= since]
    return len(spell.recent) >= THRESHOLD


def _finding(spell: Spell, signal: Signal) -> Finding:
    own = shares.counted(spell.shares, signal.organisation_id)
    return Finding(
        rule=NAME,
        key=f"{NAME}:{spell.first}",
        severity="medium",
        title="Many accounts reset by one person",
        person_id=signal.person_id,
        organisation_id=signal.organisation_id,
        occurred_at=signal.occurred_at,
        evidence=bounded(spell.evidence),
        evidence_more=spell.resets - len(spell.evidence),
        details={"resets": spell.resets},
        own=Own(person_id=signal.person_id, events=own, details={"resets": own}),
    )
