"""The public keys that service clients sign with: which are taken, and the one algorithm of each.

Pure. Place in the flow: a key is looked at when it is registered, and its algorithm again with
each assertion (:mod:`services.authz.client_assertions`), for the assertion has no choice of it
(RFC 8725, 3.1).
"""

from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

#: what a file with a public key may hold, in bytes
LONGEST: Final = 16_384
#: sizes of RSA keys, in bits: fewer are weak (NIST SP 800-131A), more only take time
_LEAST_BITS: Final = 2_048
_MOST_BITS: Final = 8_192
_LEAST_EXPONENT: Final = 65_537
_TAKEN: Final = "the key is not Ed25519, on the curve P-256, or RSA"


class UnfitKey(Exception):  # noqa: N818 - an answer, not a fault
    """A key is not taken; the message says why and quotes nothing of it."""


def algorithm_of(pem: str) -> str:
    """Return the algorithm that the holder of a key signs by; raise :class:`UnfitKey`."""
    match _loaded(pem.encode()):
        case Ed25519PublicKey():
            return "EdDSA"
        case EllipticCurvePublicKey(curve=SECP256R1()):
            return "ES256"
        case RSAPublicKey():
            return "RS256"
        case _:
            raise UnfitKey(_TAKEN)


def registrable(text: bytes) -> str:
    """Return the public key in ``text`` as PEM of one form, if it is one to register.

    Raises :class:`UnfitKey` for what is no public key, or of another kind than can sign here, or
    weak (RFC 7518, 3.3).
    """
    if b"PRIVATE KEY-----" in text:
        raise UnfitKey("it holds a private key, which stays with the client alone")
    key = _loaded(text)
    if isinstance(key, RSAPublicKey):
        if not _LEAST_BITS <= key.key_size <= _MOST_BITS:
            raise UnfitKey(f"an RSA key has {_LEAST_BITS} to {_MOST_BITS} bits")
        if key.public_numbers().e < _LEAST_EXPONENT:
            raise UnfitKey(f"the public exponent of an RSA key is {_LEAST_EXPONENT} or more")
    elif not isinstance(key, Ed25519PublicKey | EllipticCurvePublicKey):
        raise UnfitKey(_TAKEN)
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    algorithm_of(pem)
    return pem


def _loaded(text: bytes) -> object:
    try:
        return load_pem_public_key(text)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise UnfitKey("it holds no public key in PEM") from None
