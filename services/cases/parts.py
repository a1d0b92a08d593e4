"""The parts of a record, as ``domain.md`` names them."""

from collections.abc import Sequence
from typing import Final

from services.kernel.errors import Malformed

PARTS: Final[tuple[str, ...]] = (
    "overview",
    "student_basic",
    "demographics",
    "family",
    "contacts",
    "referral",
    "plan",
    "items",
    "agency_requests",
    "support_requests",
    "disclosures",
    "attendance",
    "team",
    "history",
)


def wanted_parts(texts: Sequence[str] | None) -> frozenset[str] | None:
    """Return the parts named in ``texts``, ``None`` for all; raise :class:`Malformed` otherwise."""
    if texts is None:
        return None
    names = frozenset(name.strip() for text in texts for name in text.split(","))
    if not names <= set(PARTS):
        raise Malformed("parts: unknown part")
    return names


def wanted_part(text: str) -> str:
    """Return the one part called ``text``; raise :class:`Malformed` for anything else."""
    if text not in PARTS:
        raise Malformed("part: unknown part")
    return text
