"""What a decision about a record stands on: who asks, and the record with everything around it.

Place in the flow: between :mod:`services.cases.loading`, which reads it, and the decision. Decides
nothing, and opens nothing but a name on request.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import msgspec

from services.authz.directory import Caller, Organisation
from services.cases.record import Record, Student
from services.cases.terms import record_key, student_key
from services.kernel.keystore import KeyStore
from services.kernel.sealing import Compartment, KeyRef


@dataclass(frozen=True, slots=True)
class Asking:
    """Who is calling, and the position their facts were read at."""

    caller: Caller
    at: int


class Involved(msgspec.Struct, frozen=True, gc=False):
    """What a record shows of a person it names: their profile, sealed, of a whole state."""

    id: UUID
    profile: bytes
    #: the event it was sealed for, as its 16 bytes
    profile_event: bytes

    def opened(self, keys: KeyStore) -> str:
        """Open the profile, whose key has been loaded; raise :class:`SealBroken` without it."""
        key = keys.key(KeyRef(self.id, Compartment.STAFF))
        return key.open_packed(self.profile_event, "profile", self.profile)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A record with everything around it.

    All of it is there or, when it does not exist or the caller can see nothing of it, none: which
    of the two is known by ``exists`` only, for the log and nobody else.
    """

    asking: Asking
    exists: bool
    record_id: UUID
    #: whom the record is about; of what is missing, whom its neighbour is about
    student_id: UUID
    record: Record | None = None
    student: Student | None = None
    people: Mapping[UUID, Involved] = field(default_factory=dict)
    organisations: Mapping[UUID, Organisation] = field(default_factory=dict)
    #: states of what the history may show of the learner's earlier records by id, oldest first,
    #: without their things
    earlier: Mapping[UUID, bytes] = field(default_factory=dict)
    #: all of the learner's earlier records: what becomes of one may bring it into the history
    around: Sequence[UUID] = ()

    @property
    def caller(self) -> Caller:
        """Who is calling."""
        return self.asking.caller

    @property
    def guards(self) -> list[str]:
        """The guard keys of every fact loaded; as many for what is missing as for what is hidden.

        What is missing is guarded like the neighbour it was asked about as: at worst it is decided
        again, and the number of keys, which takes time to append, tells nothing.
        """
        return [
            *self.caller.guards,
            record_key(self.record_id),
            student_key(self.student_id),
            *(record_key(record_id) for record_id in self.around),
        ]
