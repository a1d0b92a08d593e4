"""The vocabulary of authz: its event types, what their data holds, and the guard keys they touch.

Personal data in these payloads is sealed: a person's profile under the ``staff`` compartment of
that person, everything that lets somebody in under ``credential``.
"""

import re
from datetime import datetime
from typing import Final
from uuid import NAMESPACE_URL, UUID, uuid5

import msgspec

from services.kernel.codes import Code
from services.kernel.events import EventType, Kind, Service


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


def session_key(session_id: UUID) -> str:
    """Guard key of a session's life."""
    return f"session:{session_id}"


def login_key(person_id: UUID) -> str:
    """Guard key of a person's logins: which steps were used, which sessions were begun."""
    return f"login:{person_id}"


#: the form of a service client's id
CLIENT_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,99}")


def client_key(client_id: str) -> str:
    """Guard key of a service client's registration."""
    return f"client:{client_id}"


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


class SessionStarted(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody logged in with two factors (SG-2). ``refresh_digest`` identifies the family.

    ``totp_step`` is the step that was used up; ``other_sessions`` how many sessions of the person
    were live already, which is an event worth an alert (SG-4).
    """

    session_id: UUID
    person_id: UUID
    organisation_id: UUID | None
    methods: tuple[str, ...]
    expires_at: datetime
    refresh_digest: str
    totp_step: int | None = None
    other_sessions: int = 0


class SessionRefreshed(msgspec.Struct, frozen=True, kw_only=True):
    """The refresh token was rotated."""

    session_id: UUID
    person_id: UUID
    refresh_digest: str


class SessionEnded(msgspec.Struct, frozen=True, kw_only=True):
    """A session is over.

    Why: ``logout``, ``idle``, ``absolute``, ``reuse``, ``suspended``, ``revoked`` or ``reset``.
    """

    session_id: UUID
    person_id: UUID
    reason: str
    duration_s: int


class SigningKeyAdded(msgspec.Struct, frozen=True, kw_only=True):
    """A public key that access tokens may be signed with. ``public_key`` is raw Ed25519, base64."""

    kid: str
    public_key: str


class SigningKeyRetired(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of this key are no longer accepted."""

    kid: str


class CredentialSet(msgspec.Struct, frozen=True, kw_only=True):
    """A password was set. ``password_hash`` (argon2id) is sealed under ``credential``."""

    person_id: UUID
    password_hash: str


class TotpEnrolled(msgspec.Struct, frozen=True, kw_only=True):
    """A TOTP secret was confirmed by the code of ``step``. ``secret``: sealed, ``credential``."""

    person_id: UUID
    secret: str
    step: int = -1


class RecoveryCodesIssued(msgspec.Struct, frozen=True, kw_only=True):
    """New recovery codes replace the old. ``hashes`` (JSON list) is sealed under ``credential``."""

    person_id: UUID
    hashes: str


class InvitationIssued(msgspec.Struct, frozen=True, kw_only=True):
    """A one-time invitation to set a password and enrol a second factor, yet to be delivered."""

    person_id: UUID
    token_digest: str
    expires_at: datetime


class CredentialsReset(msgspec.Struct, frozen=True, kw_only=True):
    """Password and second factor no longer let the person in: a containment act (SG-21).

    ``reason`` is sealed under the person's ``staff`` key; ``act_id`` is the reset of many that it
    is part of, which has the reason.
    """

    person_id: UUID
    reason: str | None = None
    act_id: UUID | None = None


class OrganisationReset(msgspec.Struct, frozen=True, kw_only=True):
    """Some or all of an organisation's staff are to be reset (SG-21), each by a fact of their own.

    ``reason`` is sealed under the ``staff`` key of the organisation; ``named`` says how many were
    named, ``None`` for all.
    """

    act_id: UUID
    organisation_id: UUID
    reason: str
    named: int | None = None


class MessageKind(Code):
    """What a message to a member of staff is about."""

    INVITATION = "invitation"
    ADDRESS_CHANGED = "address_changed"


class MessageDelivered(msgspec.Struct, frozen=True, kw_only=True):
    """A channel took a message; ``message_id`` is the id of the fact it tells of."""

    message_id: UUID
    person_id: UUID
    kind: MessageKind
    channel: str


class MessageUndelivered(msgspec.Struct, frozen=True, kw_only=True):
    """A channel did not take a message; tried again later unless ``final``.

    ``reason`` is a code or the type of an error, never what a server said.
    """

    message_id: UUID
    person_id: UUID
    kind: MessageKind
    channel: str
    reason: str
    final: bool = False


class MailboxShared(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody's invitation went to where another person's messages go, its object (SG-4)."""

    person_id: UUID


class ClientRegistered(msgspec.Struct, frozen=True, kw_only=True):
    """A service client may ask in its own name.

    ``secret`` (the SHA-256 of 256 random bits) is sealed under ``credential`` of
    :func:`client_subject`; ``public_key`` (PEM) is for ``private_key_jwt``.
    """

    client_id: str
    name: str
    scopes: tuple[str, ...]
    secret: str
    public_key: str | None = None


class ClientRevoked(msgspec.Struct, frozen=True, kw_only=True):
    """A service client gets no token any more."""

    client_id: str


def client_subject(client_id: str) -> UUID:
    """Return whose ``credential`` key seals what lets a client in."""
    return uuid5(NAMESPACE_URL, f"casewarden:client:{client_id}")


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
INVITATION_ISSUED: Final = "authz.invitation_issued"
CREDENTIAL_SET: Final = "authz.credential_set"
TOTP_ENROLLED: Final = "authz.totp_enrolled"
RECOVERY_CODES_ISSUED: Final = "authz.recovery_codes_issued"
CREDENTIALS_RESET: Final = "authz.credentials_reset"
ORGANISATION_RESET: Final = "authz.organisation_reset"
MESSAGE_DELIVERED: Final = "authz.message_delivered"
MESSAGE_UNDELIVERED: Final = "authz.message_undelivered"
CLIENT_REGISTERED: Final = "authz.client_registered"
CLIENT_REVOKED: Final = "authz.client_revoked"
SESSION_STARTED: Final = "authz.session_started"
SESSION_REFRESHED: Final = "authz.session_refreshed"
SESSION_ENDED: Final = "authz.session_ended"
SIGNING_KEY_ADDED: Final = "authz.signing_key_added"
SIGNING_KEY_RETIRED: Final = "authz.signing_key_retired"
#: a service client was given an access token
CLIENT_TOKEN_ISSUED: Final = "authz.client_token_issued"  # noqa: S105 - an event type
#: an invitation went where somebody else's messages go too
MAILBOX_SHARED: Final = "authz.mailbox_shared"
#: somebody's password or second factor was wrong
LOGIN_FAILED: Final = "authz.login_failed"
#: logins from one address that were not even tried, as a counted window
LOGIN_THROTTLED: Final = "authz.login_throttled"
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


def _fact(name: str, title: str) -> EventType:
    return EventType(name, Service.AUTHZ, Kind.FACT, title, streams=STREAMS)


def _observation(name: str, title: str) -> EventType:
    return EventType(name, Service.AUTHZ, Kind.OBSERVATION, title)


TYPES: Final = (
    _fact(ORGANISATION_REGISTERED, "organisation registered"),
    _fact(CATCHMENT_CHANGED, "catchment changed"),
    _fact(PERSON_REGISTERED, "person registered"),
    _fact(PROFILE_CORRECTED, "profile corrected"),
    _fact(ASSIGNMENT_GRANTED, "assignment granted"),
    _fact(ASSIGNMENT_REVOKED, "assignment revoked"),
    _fact(PERSON_SUSPENDED, "person suspended"),
    _fact(PERSON_REINSTATED, "person reinstated"),
    _fact(ACCESS_DECISION_RECORDED, "access decision recorded"),
    _fact(INVITATION_ISSUED, "invitation issued"),
    _fact(CREDENTIAL_SET, "credential set"),
    _fact(TOTP_ENROLLED, "second factor enrolled"),
    _fact(RECOVERY_CODES_ISSUED, "recovery codes issued"),
    _fact(CREDENTIALS_RESET, "credentials reset"),
    _fact(ORGANISATION_RESET, "organisation's staff reset"),
    _fact(MESSAGE_DELIVERED, "message delivered"),
    _fact(MESSAGE_UNDELIVERED, "message not delivered"),
    _fact(CLIENT_REGISTERED, "service client registered"),
    _fact(CLIENT_REVOKED, "service client revoked"),
    _fact(SESSION_STARTED, "session started"),
    _fact(SESSION_REFRESHED, "session refreshed"),
    _fact(SESSION_ENDED, "session ended"),
    _fact(SIGNING_KEY_ADDED, "signing key added"),
    _fact(SIGNING_KEY_RETIRED, "signing key retired"),
    _observation(CLIENT_TOKEN_ISSUED, "service client token issued"),
    _observation(MAILBOX_SHARED, "mailbox shared by two accounts"),
    _observation(LOGIN_FAILED, "login failed"),
    _observation(LOGIN_THROTTLED, "logins throttled"),
    _observation(UNAUTHENTICATED, "unauthenticated requests"),
    _observation(READ, "read"),
    _observation(REFUSED, "refused"),
)
