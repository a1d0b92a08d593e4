"""Invitations: what lets somebody set a password and enrol a second factor, once (SG-4, SG-21).

The token is derived from the id of the fact that issued it, under a secret of the installation: a
repeated request is shown the same one, and nothing but its digest is kept.
"""

import base64
import hmac
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final, NamedTuple
from uuid import UUID

from services.authz import events as e
from services.authz.tokens import digest

INVITATION_LASTS: Final = timedelta(days=7)


class Invitation(NamedTuple):
    """A one-time token for the person alone, and until when it serves."""

    token: str
    expires_at: datetime

    def issued_to(self, person_id: UUID) -> e.InvitationIssued:
        """Return the payload of the fact; it replaces the person's earlier invitations."""
        return e.InvitationIssued(
            person_id=person_id, token_digest=digest(self.token), expires_at=self.expires_at
        )


class Invitations:
    """Derives invitations under ``installation.secret("invitation")``."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def of(self, event_id: UUID) -> Invitation:
        """Return the invitation of the fact ``event_id``, whose id (version 7) says since when."""
        token = hmac.new(self._secret, event_id.bytes, sha256).digest()
        issued_at = datetime.fromtimestamp((event_id.int >> 80) / 1000, UTC)
        text = base64.urlsafe_b64encode(token).decode().rstrip("=")
        return Invitation(text, issued_at + INVITATION_LASTS)
