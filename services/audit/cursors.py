"""Cursors: where a list goes on, sealed and bound to who asked and what they asked.

A cursor holds a position, which tells how much happens in an installation, so it is encrypted
(AES-256-GCM); it opens only for the same person asking the same question. Anything else is
malformed, and no answer tells one kind of wrong cursor from another.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from typing import Final
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.kernel.effects import Effects
from services.kernel.errors import Malformed

_NONCE_BYTES: Final = 12
_POSITION_BYTES: Final = 8
_json = msgspec.json.Encoder(order="sorted")


class Cursors:
    """Seals and opens the cursors of one service."""

    def __init__(self, secret: bytes, effects: Effects) -> None:
        self._key = AESGCM(hmac.new(secret, b"audit cursor", hashlib.sha256).digest())
        self._effects = effects

    def seal(self, position: int, person: UUID, question: Mapping[str, object]) -> str:
        """Return a cursor after ``position`` for this person and question."""
        nonce = self._effects.token(_NONCE_BYTES)
        plain = position.to_bytes(_POSITION_BYTES, "big")
        box = nonce + self._key.encrypt(nonce, plain, _bound(person, question))
        return base64.urlsafe_b64encode(box).rstrip(b"=").decode()

    def open(self, cursor: str, person: UUID, question: Mapping[str, object]) -> int:
        """Return the position; raise :class:`Malformed` for any cursor that is not theirs."""
        try:
            box = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
            plain = self._key.decrypt(
                box[:_NONCE_BYTES], box[_NONCE_BYTES:], _bound(person, question)
            )
        except (InvalidTag, binascii.Error, ValueError):
            raise Malformed("cursor: invalid") from None
        return int.from_bytes(plain, "big")


def _bound(person: UUID, question: Mapping[str, object]) -> bytes:
    return person.bytes + hashlib.sha256(_json.encode(question)).digest()
