"""The vocabulary of credentials: what lets somebody in, is about to, and is taken back.

Authz's own: no other service folds them. Everything here that lets somebody in is sealed under the
``credential`` compartment of the person; reasons are under ``staff``. Their guard keys, and that
they are registered, are in :mod:`services.authz.events`.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

INVITATION_ISSUED: Final = "authz.invitation_issued"
CREDENTIAL_SET: Final = "authz.credential_set"
TOTP_ENROLLED: Final = "authz.totp_enrolled"
RECOVERY_CODES_ISSUED: Final = "authz.recovery_codes_issued"
CREDENTIALS_RESET: Final = "authz.credentials_reset"
ORGANISATION_RESET: Final = "authz.organisation_reset"
#: an invitation was right and its password taken: a secret is told, and nothing is open yet
ENROLMENT_BEGUN: Final = "authz.enrolment_begun"


class InvitationIssued(msgspec.Struct, frozen=True, kw_only=True):
    """A one-time invitation to set a password and enrol a second factor, yet to be delivered."""

    person_id: UUID
    token_digest: str
    expires_at: datetime


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


#: the facts, with their titles
FACTS: Final[Mapping[str, str]] = {
    INVITATION_ISSUED: "invitation issued",
    CREDENTIAL_SET: "credential set",
    TOTP_ENROLLED: "second factor enrolled",
    RECOVERY_CODES_ISSUED: "recovery codes issued",
    CREDENTIALS_RESET: "credentials reset",
    ORGANISATION_RESET: "organisation's staff reset",
}
#: the observations, with their titles
OBSERVATIONS: Final[Mapping[str, str]] = {ENROLMENT_BEGUN: "enrolment begun"}
