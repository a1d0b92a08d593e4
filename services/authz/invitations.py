"""Invitations: what lets somebody set a password and enrol a second factor, once (SG-4, SG-21).

The token is derived from the id of the fact that issued it, under a secret of the installation:
nothing but its digest is kept, and nobody is shown it but the person it is delivered to
(:mod:`services.authz.courier`). It never enters an answer, an event or a log.
"""

import base64
import hmac
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final
from uuid import UUID

from services.authz.credential_events import InvitationIssued
from services.authz.tokens import digest
from services.kernel.effects import drawn_at

INVITATION_LASTS: Final = timedelta(days=7)


def expires_at(invitation_id: UUID) -> datetime:
    """Return until when an invitation serves: its id (version 7) says since when."""
    issued_at = drawn_at(invitation_id)
    return issued_at + INVITATION_LASTS


@dataclass(frozen=True, slots=True)
class Invitation:
    """A one-time token for the person alone, and until when it serves."""

    token: str = field(repr=False)
    expires_at: datetime

    def issued_to(self, person_id: UUID) -> InvitationIssued:
        """Return the payload of the fact; it replaces the person's earlier invitations."""
        return InvitationIssued(
            person_id=person_id, token_digest=digest(self.token), expires_at=self.expires_at
        )


class Invitations:
    """Derives invitations under ``installation.secret("invitation")``."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def of(self, event_id: UUID) -> Invitation:
        """Return the invitation of the fact ``event_id``."""
        token = hmac.new(self._secret, event_id.bytes, sha256).digest()
        text = base64.urlsafe_b64encode(token).decode().rstrip("=")
        return Invitation(text, expires_at(event_id))
