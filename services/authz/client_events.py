"""The vocabulary of service clients: who may ask in its own name, and what lets it in.

What lets a client in is sealed under ``credential`` of :func:`client_subject`. Never folds and
never decides; all of it is registered in :mod:`services.authz.events`.
"""

import re
from collections.abc import Mapping
from typing import Final
from uuid import NAMESPACE_URL, UUID, uuid5

import msgspec

CLIENT_REGISTERED: Final = "authz.client_registered"
CLIENT_REVOKED: Final = "authz.client_revoked"
#: a service client was given an access token
CLIENT_TOKEN_ISSUED: Final = "authz.client_token_issued"  # noqa: S105 - an event type
#: what a service client can be let do in its own name (contract)
SCOPES: Final = ("audit.read", "decisions", "feeds")
#: the form of a service client's id
CLIENT_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,99}")


def client_key(client_id: str) -> str:
    """Guard key of a service client's registration."""
    return f"client:{client_id}"


def client_stream(client_id: str) -> str:
    """Return the stream of a service client."""
    return f"client:{client_id}"


def client_subject(client_id: str) -> UUID:
    """Return whose ``credential`` key seals what lets a client in."""
    return uuid5(NAMESPACE_URL, f"casewarden:client:{client_id}")


class ClientRegistered(msgspec.Struct, frozen=True, kw_only=True):
    """A service client may ask in its own name.

    ``secret`` (the SHA-256 of 256 random bits) is sealed under ``credential`` of
    :func:`client_subject`; ``public_key`` (PEM) is for ``private_key_jwt``. It has one of them, or
    both. What is an organisation's own is all that a client of ``organisation_id`` sees.
    """

    client_id: str
    name: str
    scopes: tuple[str, ...]
    secret: str | None = None
    public_key: str | None = None
    organisation_id: UUID | None = None


class ClientRevoked(msgspec.Struct, frozen=True, kw_only=True):
    """A service client gets no token any more, and those it has are worth nothing (SG-3).

    ``reason``, if given, is sealed under ``staff`` of :func:`client_subject`.
    """

    client_id: str
    reason: str | None = None


#: the facts, with their titles
FACTS: Final[Mapping[str, str]] = {
    CLIENT_REGISTERED: "service client registered",
    CLIENT_REVOKED: "service client revoked",
}
#: the observations, with their titles
OBSERVATIONS: Final[Mapping[str, str]] = {
    CLIENT_TOKEN_ISSUED: "service client token issued",
}
