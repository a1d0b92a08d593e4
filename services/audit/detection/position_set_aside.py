"""Rule `position_set_aside` (SG-8, SG-10): who owns the database took an event out of every fold.

That may undo a revocation, so somebody other than who did it should know at once. Each is a finding
of its own, and nothing is remembered. In the flow: signals → here → findings, of nobody: who was at
the console is not in the log.
"""

from typing import Final

import msgspec

from services.audit.detection.signals import POSITION_SET_ASIDE, Finding, Signal

NAME: Final = "position_set_aside"
TYPES: Final = frozenset({POSITION_SET_ASIDE})


class State(msgspec.Struct):
    """Nothing: `remembered` stays empty."""

    remembered: dict[str, bool] = msgspec.field(default_factory=dict)


def fold(state: State, signal: Signal) -> tuple[State, list[Finding]]:
    """One finding a position."""
    return state, [_finding(signal)]


def touches(_signal: Signal) -> None:
    """Nothing is remembered."""


def _finding(signal: Signal) -> Finding:
    return Finding(
        rule=NAME,
        key=f"{NAME}:{signal.event_id}",
        severity="high",
        title="An event was set aside and is in no read model",
        person_id=None,
        organisation_id=None,
        occurred_at=signal.occurred_at,
        evidence=(signal.event_id,),
    )
