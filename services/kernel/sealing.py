"""Sealing personal data: AES-256-GCM under a key of one subject and one compartment (SG-6).

Owns what a sealed value is, and whose key it is sealed under. A sealed value names its algorithm
and key generation and is bound, as associated data, to the event id, the field and the compartment
it was sealed for: moved elsewhere it does not open. Pure; knows no event type and keeps no key:
keys live in the key store, which wraps them under the keys of an epoch.
"""

import binascii
import contextlib
from datetime import datetime
from functools import lru_cache
from typing import Final, NamedTuple
from uuid import NAMESPACE_URL, UUID, uuid5

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.kernel.codes import Code
from services.kernel.errors import Unavailable

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
#: the algorithm, and the generation of the key
_PREFIX: Final = "A256GCM.1."
_PREFIX_LENGTH: Final = len(_PREFIX)
#: what a packed value begins with: which prefix it had, or that it had none
_PACKED: Final = b"\x01"
_UNSEALED: Final = b"\x00"
_NONCE_END: Final = 1 + NONCE_BYTES


class Compartment(Code):
    """Kinds of information kept apart; one cannot be opened with another's key (SG-6)."""

    STUDENT = "student"
    RECORD = "record"
    SENSITIVE = "sensitive"
    STAFF = "staff"
    CREDENTIAL = "credential"
    ORIGIN = "origin"
    SEARCH = "search"
    REVIEW = "review"


class KeyRef(msgspec.Struct, frozen=True, gc=False):
    """Whose key, of which compartment."""

    subject: UUID
    compartment: Compartment


class SealBroken(Exception):  # noqa: N818 - a state of the data
    """A sealed value does not open: its key is destroyed, or it is not where it was sealed."""


class KeyNotLoaded(Unavailable):
    """Whether the key exists is not known now: it was not loaded, or is not in reach any more."""


class Sealed(NamedTuple):
    """A sealed value as projections keep it: the text, and where it was sealed."""

    ref: KeyRef
    event_id: UUID
    field: str
    text: str


def period_subject(kind: str, moment: datetime) -> UUID:
    """Return the subject of the period key for ``moment``: one per kind and calendar month."""
    return uuid5(NAMESPACE_URL, f"casewarden:{kind}:{moment:%Y-%m}")


def packed(sealed: str) -> bytes:
    """Return a sealed value as projections keep it, shorter; what never was sealed, as it is.

    Total, as folds are: such a value opens nowhere.
    """
    if sealed.startswith(_PREFIX):
        with contextlib.suppress(ValueError):
            return _PACKED + binascii.a2b_base64(sealed[_PREFIX_LENGTH:], strict_mode=True)
    return _UNSEALED + sealed.encode()


def unpacked(box: bytes) -> str:
    """Return the sealed value that :func:`packed` packed."""
    if box.startswith(_PACKED):
        return _PREFIX + binascii.b2a_base64(box[1:], newline=False).decode()
    return box[1:].decode()


class DataKey:
    """The key of one subject and compartment, opened."""

    __slots__ = ("_compartment", "_key")

    def __init__(self, key: bytes, compartment: Compartment) -> None:
        self._key = AESGCM(key)
        self._compartment = compartment

    def seal(self, nonce: bytes, event_id: UUID, field: str, text: str) -> str:
        """Return ``text`` sealed for a field of an event; a nonce serves a key once."""
        bound = event_id.bytes + _bound(field, self._compartment)
        box = nonce + self._key.encrypt(nonce, text.encode(), bound)
        return _PREFIX + binascii.b2a_base64(box, newline=False).decode()

    def open(self, event_id: UUID, field: str, sealed: str) -> str:
        """Return what :meth:`seal` sealed; raise :class:`SealBroken` when it does not open."""
        return self.open_packed(event_id.bytes, field, packed(sealed))

    def open_packed(self, event_id: bytes, field: str, box: bytes) -> str:
        """Return what :meth:`seal` sealed and :func:`packed` packed, or raise the same.

        The event's id as its 16 bytes, as a projection keeps it.
        """
        if not box.startswith(_PACKED):
            raise SealBroken(field)
        bound = event_id + _bound(field, self._compartment)
        try:
            return self._key.decrypt(box[1:_NONCE_END], box[_NONCE_END:], bound).decode()
        except (InvalidTag, ValueError):
            raise SealBroken(field) from None


@lru_cache(maxsize=256)
def _bound(field: str, compartment: Compartment) -> bytes:
    """Return what a value is bound to beside its event; few, and asked for very often."""
    return b"|" + field.encode() + b"|" + compartment.encode()
