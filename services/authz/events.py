"""The vocabulary of authz: its event types, what their data holds, and the guard keys they touch.

Who there is and who may do what is here. What the other services fold besides has modules of its
own (:mod:`services.authz.session_events`, :mod:`services.authz.client_events`), and so has what
nobody but authz reads (:mod:`services.authz.credential_events`,
:mod:`services.authz.message_events`); all of it is registered here. Personal data in these payloads
is sealed: a person's profile under the ``staff`` compartment of that person, everything that lets
somebody in under ``credential``. Never folds and never decides.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from services.authz import client_events, credential_events, message_events, session_events
from services.kernel.codes import Code
from services.kernel.event_types import EventType, Kind
from services.kernel.events import Service


class Role(Code):
    """The roles of the contract."""

    SCHOOL_LEADER = "school_leader"
    PRIMARY_CONTACT = "primary_contact"
    SCHOOL_OFFICE = "school_office"
    ISP_WORKFLOW_LEAD = "isp_workflow_lead"
    ASP_WORKFLOW_LEAD = "asp_workflow_lead"
    ASP_CASE_MANAGER = "asp_case_manager"
    CENTRAL_INVESTIGATION = "central_investigation"
    NATIONAL_CONTRACTS = "national_contracts"
    REGIONAL_CONTRACT_MANAGER = "regional_contract_manager"
    REGIONAL_OFFICE = "regional_office"
    PROSECUTIONS = "prosecutions"
    TECHNICAL_SUPPORT = "technical_support"
    SECURITY_ANALYST = "security_analyst"
    PRIVACY_OFFICER = "privacy_officer"
    ADMINISTRATOR = "administrator"


class OrganisationKind(Code):
    """What an organisation is."""

    SCHOOL = "school"
    ASP = "asp"
    ISP = "isp"
    MINISTRY = "ministry"


def person_key(person_id: UUID) -> str:
    """Guard key of a person's assignments, clearances and suspension."""
    return f"person:{person_id}"


def organisation_key(organisation_id: UUID) -> str:
    """Guard key of an organisation: its kind, and who has access to it."""
    return f"organisation:{organisation_id}"


def decision_key(decision_id: UUID) -> str:
    """Guard key of a leader's access decision: whether it has served."""
    return f"decision:{decision_id}"


def catchment_key(school_id: UUID) -> str:
    """Guard key of which providers serve a school."""
    return f"catchment:{school_id}"


class OrganisationRegistered(msgspec.Struct, frozen=True, kw_only=True):
    """An organisation exists. Nothing here is personal."""

    organisation_id: UUID
    kind: OrganisationKind
    name: str
    time_zone: str
    holiday_subdivision: str | None = None
    phone: str | None = None
    address: str | None = None
    region: str | None = None


class CatchmentChanged(msgspec.Struct, frozen=True, kw_only=True):
    """A provider serves a school from a date until a date (AC: catchments are dated)."""

    provider_id: UUID
    school_id: UUID
    starts_at: datetime
    ends_at: datetime | None = None


class PersonRegistered(msgspec.Struct, frozen=True, kw_only=True):
    """A person exists. ``profile`` (sealed, ``staff``) is the JSON of :class:`Profile`."""

    person_id: UUID
    profile: str
    #: keyed digest of the user name, and the name itself sealed under ``credential``
    username_digest: str
    username: str


class ProfileCorrected(msgspec.Struct, frozen=True, kw_only=True):
    """A person's profile was corrected (AC-DO-13). ``profile`` as above.

    Another address does not serve at once (:mod:`services.authz.deliveries`); one that cannot be
    told from another counts as changed.
    """

    person_id: UUID
    profile: str
    address_changed: bool = True


class AssignmentGranted(msgspec.Struct, frozen=True, kw_only=True):
    """A person holds a role at an organisation from a moment until a moment."""

    assignment_id: UUID
    person_id: UUID
    role: Role
    organisation_id: UUID
    starts_at: datetime
    ends_at: datetime | None = None
    decision_id: UUID | None = None


class AssignmentRevoked(msgspec.Struct, frozen=True, kw_only=True):
    """An assignment ends now. ``reason`` is sealed under the person's ``staff`` key, if given."""

    assignment_id: UUID
    person_id: UUID
    reason: str | None = None
    decision_id: UUID | None = None


class PersonSuspended(msgspec.Struct, frozen=True, kw_only=True):
    """A person may do nothing until reinstated. ``reason`` is sealed under ``staff``."""

    person_id: UUID
    reason: str


class PersonReinstated(msgspec.Struct, frozen=True, kw_only=True):
    """A suspension is over."""

    person_id: UUID


class AccessDecisionRecorded(msgspec.Struct, frozen=True, kw_only=True):
    """A leader decided that a person is to have (or lose) a role (AC-DO-3); serves once.

    ``change`` is ``grant`` or ``revoke``.
    """

    decision_id: UUID
    person_id: UUID
    role: Role
    organisation_id: UUID
    expires_at: datetime
    change: str = "grant"


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """A member of staff as others may see them; always sealed in an event."""

    given_name: str
    family_name: str
    email: str
    phone: str = ""

    @property
    def name(self) -> str:
        """The full name."""
        return f"{self.given_name} {self.family_name}".strip()


ORGANISATION_REGISTERED: Final = "authz.organisation_registered"
CATCHMENT_CHANGED: Final = "authz.catchment_changed"
PERSON_REGISTERED: Final = "authz.person_registered"
PROFILE_CORRECTED: Final = "authz.profile_corrected"
ASSIGNMENT_GRANTED: Final = "authz.assignment_granted"
ASSIGNMENT_REVOKED: Final = "authz.assignment_revoked"
PERSON_SUSPENDED: Final = "authz.person_suspended"
PERSON_REINSTATED: Final = "authz.person_reinstated"
ACCESS_DECISION_RECORDED: Final = "authz.access_decision_recorded"
#: requests without a valid session, as a counted window per address
UNAUTHENTICATED: Final = "authz.unauthenticated"
#: something was shown: a profile, a staff list, one's own activity
READ: Final = "authz.read"
#: something was refused
REFUSED: Final = "authz.refused"


#: what the names of authz's streams begin with
STREAMS: Final = (
    *("person", "organisation", "session", "signing-keys", "client", "decision"),
    *("reset", "delivery"),
)

_FACTS: Final[Mapping[str, str]] = {
    ORGANISATION_REGISTERED: "organisation registered",
    CATCHMENT_CHANGED: "catchment changed",
    PERSON_REGISTERED: "person registered",
    PROFILE_CORRECTED: "profile corrected",
    ASSIGNMENT_GRANTED: "assignment granted",
    ASSIGNMENT_REVOKED: "assignment revoked",
    PERSON_SUSPENDED: "person suspended",
    PERSON_REINSTATED: "person reinstated",
    ACCESS_DECISION_RECORDED: "access decision recorded",
    **session_events.FACTS,
    **client_events.FACTS,
    **credential_events.FACTS,
    **message_events.FACTS,
}
_OBSERVATIONS: Final[Mapping[str, str]] = {
    UNAUTHENTICATED: "unauthenticated requests",
    READ: "read",
    REFUSED: "refused",
    **session_events.OBSERVATIONS,
    **credential_events.OBSERVATIONS,
    **client_events.OBSERVATIONS,
    **message_events.OBSERVATIONS,
}

TYPES: Final = (
    *(EventType(n, Service.AUTHZ, Kind.FACT, t, streams=STREAMS) for n, t in _FACTS.items()),
    *(EventType(n, Service.AUTHZ, Kind.OBSERVATION, t) for n, t in _OBSERVATIONS.items()),
)
