"""Opening what is sealed about one learner, once the decision has said that it is shown.

A value whose key is destroyed shows as ``None``: the person is gone, the record's shape is not.
Never loads a key, and never says who may see what.
"""

from typing import Any, Final
from uuid import UUID

import msgspec

from services.cases.kept import Kept
from services.kernel.keystore import KeyStore
from services.kernel.sealing import Compartment, DataKey, KeyRef, SealBroken

_decode: Final = msgspec.json.Decoder().decode


class Boxes:
    """Opens the boxes of one learner; each of their keys is looked up once. For one answer."""

    __slots__ = ("_keys", "_known", "_student_id")

    def __init__(self, keys: KeyStore, student_id: UUID) -> None:
        self._keys = keys
        self._student_id = student_id
        self._known: dict[Compartment, DataKey | None] = {}

    def text(self, box: Kept | None) -> str | None:
        """Return the text in ``box``, or ``None`` when there is none or its key is destroyed.

        Raises :class:`services.kernel.sealing.KeyNotLoaded` when its key was not loaded.
        """
        if box is None:
            return None
        compartment = box.compartment
        key = self._known[compartment] if compartment in self._known else self._key(compartment)
        if key is None:
            return None
        try:
            return key.open_packed(box.event, box.field, box.content)
        except SealBroken:
            return None

    def json(self, box: Kept | None) -> Any:  # noqa: ANN401 - sealed JSON
        """Return the JSON in ``box``, or ``None``."""
        text = self.text(box)
        return None if text is None else _decode(text)

    def _key(self, compartment: Compartment) -> DataKey | None:
        try:
            key = self._keys.key(KeyRef(self._student_id, compartment))
        except SealBroken:
            key = None
        self._known[compartment] = key
        return key
