"""Cursors of lists: sealed, and bound to who asked for what.

A cursor says where the next page begins. It is sealed with AES-SIV (RFC 5297: no nonce to draw or
to repeat), with the caller and the filter as associated data: another caller, or another filter,
cannot open it, and its length says nothing but how many blocks it has.
"""

import base64
import binascii
from typing import Final, TypeVar
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from services.kernel.errors import Malformed

T = TypeVar("T")
_KEY_BYTES: Final = 64
_BLOCK: Final = 48
#: characters of a cursor
LONGEST: Final = 1_024


class Cursors:
    """Seals and opens the cursors of one installation."""

    def __init__(self, secret: bytes) -> None:
        key = HKDF(SHA512(), _KEY_BYTES, salt=None, info=b"casewarden cursor").derive(secret)
        self._box = AESSIV(key)

    def seal(self, caller_id: UUID | str, filter_text: str, payload: object) -> str:
        """Return a cursor for ``payload`` (anything msgspec encodes), safe in a URL.

        ``filter_text`` is the canonical text of everything else that was asked, the route included.
        """
        text = msgspec.json.encode(payload)
        padded = text.ljust(-(-len(text) // _BLOCK) * _BLOCK)
        return base64.urlsafe_b64encode(
            self._box.encrypt(padded, _bound(caller_id, filter_text))
        ).decode()

    def open(self, caller_id: UUID | str, filter_text: str, cursor: str, kind: type[T]) -> T:
        """Return the payload as ``kind``; raise :class:`Malformed` for anybody else's cursor."""
        try:
            if len(cursor) > LONGEST:
                raise Malformed("cursor")
            box = base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True)
            text = self._box.decrypt(box, _bound(caller_id, filter_text))
            return msgspec.json.decode(text, type=kind)
        except (UnicodeError, binascii.Error, InvalidTag, ValueError, msgspec.MsgspecError):
            raise Malformed("cursor") from None


def _bound(caller_id: UUID | str, filter_text: str) -> list[bytes]:
    return [str(caller_id).encode(), filter_text.encode()]
