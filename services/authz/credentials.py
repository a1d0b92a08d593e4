"""Credentials on their way into an event: each sealed for the event that carries it.

Pure but for the ids it draws; the person's ``credential`` key must have been loaded.
"""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

import msgspec

from services.authz.credential_events import (
    CREDENTIAL_SET,
    RECOVERY_CODES_ISSUED,
    TOTP_ENROLLED,
    CredentialSet,
    RecoveryCodesIssued,
    TotpEnrolled,
)
from services.kernel.effects import Effects
from services.kernel.keystore import KeyStore
from services.kernel.sealing import Compartment, KeyRef


class Carried(NamedTuple):
    """An event to be: its type, its id, and its payload sealed for that id."""

    type: str
    event_id: UUID
    payload: msgspec.Struct


class CredentialSealer:
    """Seals what lets one person in."""

    def __init__(self, keys: KeyStore, effects: Effects, person_id: UUID) -> None:
        self._keys = keys
        self._effects = effects
        self._person_id = person_id
        self._ref = KeyRef(person_id, Compartment.CREDENTIAL)

    def password(self, kept: str) -> Carried:
        """Carry an argon2id hash."""
        event_id = self._effects.new_id()
        sealed = self._keys.seal(self._ref, event_id, "password_hash", kept)
        payload = CredentialSet(person_id=self._person_id, password_hash=sealed)
        return Carried(CREDENTIAL_SET, event_id, payload)

    def totp(self, secret: str, step: int = -1) -> Carried:
        """Carry a TOTP secret, and the step whose code confirmed it."""
        event_id = self._effects.new_id()
        sealed = self._keys.seal(self._ref, event_id, "secret", secret)
        payload = TotpEnrolled(person_id=self._person_id, secret=sealed, step=step)
        return Carried(TOTP_ENROLLED, event_id, payload)

    def recovery(self, hashes: Sequence[str]) -> Carried:
        """Carry the hashes of recovery codes."""
        event_id = self._effects.new_id()
        text = msgspec.json.encode(list(hashes)).decode()
        sealed = self._keys.seal(self._ref, event_id, "hashes", text)
        payload = RecoveryCodesIssued(person_id=self._person_id, hashes=sealed)
        return Carried(RECOVERY_CODES_ISSUED, event_id, payload)
