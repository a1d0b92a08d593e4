"""What detection takes in and what it gives out.

Owns the two records at its edge. Neither carries anything about a learner, nor what somebody
typed as a username: SG-18 holds for alerts as it does for logs and metrics.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from services.audit.detection.calendar import Hours
from services.audit.events import Own

SESSION_STARTED: Final = "authz.session_started"
SESSION_ENDED: Final = "authz.session_ended"
PERSON_REGISTERED: Final = "authz.person_registered"
ASSIGNMENT_GRANTED: Final = "authz.assignment_granted"
CREDENTIALS_RESET: Final = "authz.credentials_reset"
LOGIN_FAILED: Final = "authz.login_failed"
LOGIN_THROTTLED: Final = "authz.login_throttled"
POSITION_SET_ASIDE: Final = "audit.position_set_aside"
MAILBOX_SHARED: Final = "authz.mailbox_shared"

ALLOWED: Final = "allowed"
FAILED: Final = "failed"

MOST_EVIDENCE: Final = 50

Severity = Literal["low", "medium", "high"]


@dataclass(frozen=True, slots=True)
class Signal:
    """One event, reduced to what the rules look at.

    `occurred_at` is aware and in UTC. `person_id` is whose account it is, when that is known;
    otherwise `account` is the keyed digest of what was typed. `address` stands for where it
    came from (of IPv6, the /64), `device` for the whole user agent. `organisation` is None when the
    hours of the person's organisation are not known. `count` is above 1 only for a counted window,
    which names an address and no account. `about` is whom an act of administration or a session is
    about; `session` the session begun or ended, `others` how many of that person lived beside it.
    """

    position: int
    event_id: UUID
    type: str
    occurred_at: datetime
    person_id: UUID | None
    account: str | None
    address: str | None
    organisation: Hours | None
    organisation_id: UUID | None
    outcome: str
    count: int = 1
    about: UUID | None = None
    device: str | None = None
    session: UUID | None = None
    others: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule wants looked at.

    Two findings with one `key` are one alert: the later one says more (a higher count or
    severity, more evidence) and replaces the earlier. `evidence` are event ids, the first
    fifty; `evidence_more` counts those left out. `details` holds counts, dates and codes only.
    All that is for who sees every organisation; `own` for readers at `organisation_id` alone.
    """

    rule: str
    key: str
    severity: Severity
    title: str
    person_id: UUID | None
    organisation_id: UUID | None
    occurred_at: datetime
    evidence: tuple[UUID, ...]
    evidence_more: int = 0
    details: Mapping[str, str | int] = field(default_factory=dict)
    own: Own = field(default_factory=Own)


def login_succeeded(signal: Signal) -> bool:
    """Whether this is a login that went all the way through."""
    return signal.type == SESSION_STARTED and signal.outcome == ALLOWED


def done(signal: Signal, type_: str) -> bool:
    """Whether this is an act of that type, and it was done."""
    return signal.type == type_ and signal.outcome == ALLOWED


def bounded(evidence: Sequence[UUID]) -> tuple[UUID, ...]:
    """Keep the first fifty: an alert points at its evidence, it is not a copy of the log."""
    return tuple(evidence[:MOST_EVIDENCE])
