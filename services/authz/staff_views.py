"""Staff as others see them: what an answer about them holds, and the tag of just that.

Row types and no more: who is shown what is decided in :mod:`services.authz.staff_sight`, and asked
for in :mod:`services.authz.staff`.
"""

from datetime import datetime
from uuid import UUID

import msgspec

from services.authz.desk import Desk
from services.authz.directory import Assignment
from services.authz.events import Profile, Role
from services.authz.visits import Visit
from services.kernel.etags import etag


class AssignmentView(msgspec.Struct, frozen=True, kw_only=True):
    """An assignment as those see it who see the staff list; ``version`` covers exactly this."""

    assignment_id: UUID
    person_id: UUID
    role: Role
    organisation_id: UUID
    starts_at: datetime
    ends_at: datetime | None


class StaffMember(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody in a staff list; ``name`` is empty once their key is destroyed."""

    name: str
    suspended: bool
    assignment: AssignmentView
    version: str


class StaffPage(msgspec.Struct, frozen=True):
    """Staff, and the assignment after which there are more."""

    items: list[StaffMember]
    after: UUID | None


class PersonView(msgspec.Struct, frozen=True, kw_only=True):
    """A person, with those of their assignments that the reader sees.

    How to reach them is unset, which is absent, for who does not see that.
    """

    id: UUID
    given_name: str
    family_name: str
    email: str | msgspec.UnsetType = msgspec.UNSET
    phone: str | msgspec.UnsetType = msgspec.UNSET
    suspended: bool
    assignments: list[AssignmentView]

    def corrected(self, profile: Profile) -> "PersonView":
        """Return the person with ``profile``, whole."""
        return msgspec.structs.replace(self, **msgspec.structs.asdict(profile))


class PeoplePage(msgspec.Struct, frozen=True):
    """People, and the person after whom there are more."""

    items: list[PersonView]
    after: UUID | None


def view_of(person_id: UUID, assignment: Assignment) -> AssignmentView:
    """Return an assignment as it is shown."""
    return AssignmentView(
        assignment_id=assignment.id,
        person_id=person_id,
        role=assignment.role,
        organisation_id=assignment.organisation_id,
        starts_at=assignment.starts_at,
        ends_at=assignment.ends_at,
    )


def version_of(desk: Desk, visit: Visit, view: msgspec.Struct) -> str:
    """Return the entity tag of what is shown to this caller, with its quotes."""
    return etag(desk.etag_secret, visit.person_id, msgspec.json.encode(view, order="sorted"))
