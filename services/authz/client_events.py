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
#: the form of a service client's id
CLIENT_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,99}")


def client_key(client_id: str) -> str:
    """Guard key of a service client's registration."""
    return f"client:{client_id}"


def client_subject(client_id: str) -> UUID:
    """Return whose ``credential`` key seals what lets a client in."""
    return uuid5(NAMESPACE_URL, f"casewarden:client:{client_id}")


class ClientRegistered(msgspec.Struct, frozen=True, kw_only=True):
    """A service client may ask in its own name.

    ``secret`` (the SHA-256 of 256 random bits) is sealed under ``credential`` of
    :func:`client_subject`; ``public_key`` (PEM) is for ``private_key_jwt``.
    """

    client_id: str
    name: str
    scopes: tuple[str, ...]
    secret: str
    public_key: str | None = None


class ClientRevoked(msgspec.Struct, frozen=True, kw_only=True):
    """A service client gets no token any more."""

    client_id: str


#: the facts, with their titles
FACTS: Final[Mapping[str, str]] = {
    CLIENT_REGISTERED: "service client registered",
    CLIENT_REVOKED: "service client revoked",
}
#: the observations, with their titles
OBSERVATIONS: Final[Mapping[str, str]] = {
    CLIENT_TOKEN_ISSUED: "service client token issued",
}
