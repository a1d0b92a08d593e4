"""Sealing personal data: AES-256-GCM under a key of one subject and one compartment (SG-6).

Owns what a sealed value is, and whose key it is sealed under. A sealed value names its algorithm
and key generation and is bound, as associated data, to the event id, the field and the compartment
it was sealed for: moved elsewhere it does not open. Pure; knows no event type and keeps no key:
keys live in the key store, which wraps them under the keys of an epoch.
"""

import binascii
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple
from uuid import NAMESPACE_URL, UUID, uuid5

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.kernel.errors import Unavailable

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
#: the algorithm, and the generation of the key
_PREFIX: Final = "A256GCM.1."
_PREFIX_LENGTH: Final = len(_PREFIX)


class Compartment(StrEnum):
    """Kinds of information kept apart; one cannot be opened with another's key (SG-6)."""

    STUDENT = "student"
    RECORD = "record"
    SENSITIVE = "sensitive"
    STAFF = "staff"
    CREDENTIAL = "credential"
    ORIGIN = "origin"
    SEARCH = "search"
    REVIEW = "review"


class KeyRef(NamedTuple):
    """Whose key, of which compartment."""

    subject: UUID
    compartment: Compartment

    def __hash__(self) -> int:
        """As equal as its subject: a subject has few compartments, and it is asked very often."""
        return hash(self[0].int)


class SealBroken(Exception):  # noqa: N818 - a state of the data
    """A sealed value does not open: its key is destroyed, or it is not where it was sealed."""


class KeyNotLoaded(Unavailable):
    """Whether the key exists is not known now: it was not loaded, or is not in reach any more."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A sealed value as projections keep it: the text, and where it was sealed."""

    ref: KeyRef
    event_id: UUID
    field: str
    text: str


def period_subject(kind: str, moment: datetime) -> UUID:
    """Return the subject of the period key for ``moment``: one per kind and calendar month."""
    return uuid5(NAMESPACE_URL, f"casewarden:{kind}:{moment:%Y-%m}")


def seal(
    key: AESGCM, nonce: bytes, event_id: UUID, field: str, compartment: Compartment, text: str
) -> str:
    """Return ``text`` sealed for a field of an event; a nonce serves a key once."""
    box = nonce + key.encrypt(nonce, text.encode(), _bound(event_id, field, compartment))
    return _PREFIX + binascii.b2a_base64(box, newline=False).decode()


def open_(key: AESGCM, event_id: UUID, field: str, compartment: Compartment, sealed: str) -> str:
    """Return what :func:`seal` sealed; raise :class:`SealBroken` when it does not open."""
    if not sealed.startswith(_PREFIX):
        raise SealBroken(field)
    try:
        box = binascii.a2b_base64(sealed[_PREFIX_LENGTH:], strict_mode=True)
        return key.decrypt(
            box[:NONCE_BYTES], box[NONCE_BYTES:], _bound(event_id, field, compartment)
        ).decode()
    except (InvalidTag, ValueError):
        raise SealBroken(field) from None


def _bound(event_id: UUID, field: str, compartment: Compartment) -> bytes:
    return b"%b|%b|%b" % (event_id.bytes, field.encode(), compartment.encode())
