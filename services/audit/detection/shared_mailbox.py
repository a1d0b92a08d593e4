"""Rule `shared_mailbox` (SG-4): an invitation went to a mailbox that opens another account too.

Who reads that mailbox can become either person. Each is a finding of its own, and nothing is
remembered. In the flow: signals → here → findings, of who was invited; whose mailbox it was already
is the object of the event in the evidence. Of no organisation: one organisation's own analysts
would learn of another's staff.
"""

from typing import Final

import msgspec

from services.audit.detection.signals import MAILBOX_SHARED, Finding, Signal

NAME: Final = "shared_mailbox"
TYPES: Final = frozenset({MAILBOX_SHARED})


class State(msgspec.Struct):
    """Nothing: `remembered` stays empty."""

    remembered: dict[str, bool] = msgspec.field(default_factory=dict)


def fold(state: State, signal: Signal) -> tuple[State, list[Finding]]:
    """One finding an event."""
    finding = Finding(
        rule=NAME,
        key=f"{NAME}:{signal.event_id}",
        severity="medium",
        title="One mailbox opens the accounts of two people",
        person_id=signal.person_id,
        organisation_id=None,
        occurred_at=signal.occurred_at,
        evidence=(signal.event_id,),
    )
    return state, [finding]


def touches(_signal: Signal) -> None:
    """Nothing is remembered."""
