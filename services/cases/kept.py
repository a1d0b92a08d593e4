"""Sealed content as a folded record keeps it: the box of the fact it came with, packed.

Pure; opens nothing.
"""

from uuid import UUID

import msgspec

from services.cases.terms import Box
from services.kernel.sealing import Compartment, packed, unpacked


class Kept(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A sealed text, and where it was sealed, the event by its 16 bytes; opens nowhere else."""

    event: bytes
    field: str
    compartment: Compartment
    content: bytes

    @property
    def box(self) -> Box:
        """What it was made of, for another fact to carry on."""
        return Box(UUID(bytes=self.event), self.field, unpacked(self.content), self.compartment)


class Particulars(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What is known of a learner, sealed; nothing of one who is not known (yet)."""

    basic: Kept | None = None
    demographics: Kept | None = None
    family: Kept | None = None


def kept(box: Box) -> Kept:
    """Return the content of a fact as a record keeps it."""
    return Kept(box.event.bytes, box.field, box.compartment, packed(box.text))


def kept_if(box: Box | None) -> Kept | None:
    """Return the same of what a fact may lack."""
    return None if box is None else kept(box)
