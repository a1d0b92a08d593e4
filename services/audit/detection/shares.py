"""Shares by organisation: what of something counted is each one's.

Owns how a share is kept and found. In the flow: a rule counts a signal in, and a finding tells
readers at an organisation their own share alone. What is of no organisation is in no share.
"""

from uuid import UUID

import msgspec


class Share(msgspec.Struct, array_like=True):
    """What of a burst is one organisation's."""

    failures: int = 0
    events: int = 0
    logins: int = 0


def share_of(shares: dict[UUID, Share], organisation: UUID | None) -> Share:
    """Return the share of an organisation, made when there is none yet: add to it."""
    return Share() if organisation is None else shares.setdefault(organisation, Share())


def count(shares: dict[UUID, int], organisation: UUID | None) -> None:
    """Count one for an organisation."""
    if organisation is not None:
        shares[organisation] = shares.get(organisation, 0) + 1


def counted(shares: dict[UUID, int], organisation: UUID | None) -> int:
    """Return how many were counted for an organisation."""
    return 0 if organisation is None else shares.get(organisation, 0)
