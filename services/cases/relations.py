"""How an assignment stands to a record: each relation defined once, used both ways.

A relation is a small expression over the columns of a record (``r``), of its student (``s``) and
of one assignment (``a``). It is compiled to a Python predicate, for one record in hand, and to a
SQL condition, for lists. A property test holds the two equal over random worlds.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import msgspec

from services.authz.directory import Assignment
from services.authz.engine import ANY_ROLE, Policy
from services.authz.events import Role
from services.cases.record import Record, Status, Student
from services.cases.terms import RecordKind

#: facts of one thing inside a record, not of the record; decided thing by thing
THING_FACTS: Final = frozenset(
    {"shared", "cleared", "agreed", "authored", "seen_itself", "elsewhere", "sees_record"}
)


class Columns(msgspec.Struct, frozen=True):
    """What relations speak of: columns of one record, and where its student is at school."""

    kind: str
    status: str
    school_id: UUID
    student_school_id: UUID | None
    provider_id: UUID | None
    made_by: UUID
    made_at: UUID
    case_manager: UUID | None
    primary_contact: UUID | None
    team: tuple[UUID, ...]
    submitted: bool
    notified: bool


#: each column, as Python finds it in a record ``r`` and its student ``s``; ``{}`` follows an id
_COLUMNS: Final[Mapping[str, str]] = {
    "kind": "r.kind",
    "status": "r.status",
    "school_id": "r.school_id{}",
    "student_school_id": "s and (one := s.school_id) and one{}",
    "provider_id": "(one := r.provider_id) and one{}",
    "made_by": "r.made_by.assignment_id{}",
    "made_at": "r.made_by.organisation_id{}",
    "case_manager": "(one := r.case_manager) and one.assignment_id{}",
    "primary_contact": "(one := r.primary_contact) and one.assignment_id{}",
    "team": "r.team and tuple([one.assignment_id{} for one in r.team])",
    "submitted": "r.submitted_at is not None",
    "notified": "r.notified",
}
#: follows an id where its number is wanted: comparing UUID objects costs three times as much
_NUMBER: Final = ".int"
#: the columns of a record, and of its student where there is one, that relations speak of
columns_of: Final[Callable[[Record, Student | None], Columns]] = eval(  # noqa: S307 - a constant table
    f"lambda r, s: Columns({', '.join(_COLUMNS.values()).format(*[''] * len(_COLUMNS))})",
    {"Columns": Columns},
)


@dataclass(frozen=True, slots=True)
class Expression:
    """A condition in both languages; Python's speaks of columns by name, and ids as numbers."""

    python: str
    sql: str
    columns: tuple[str, ...]

    def __and__(self, other: "Expression") -> "Expression":
        """Both hold."""
        return Expression(
            f"{self.python} and {other.python}",
            f"{self.sql} and {other.sql}",
            (*self.columns, *other.columns),
        )


#: what of an assignment relations compare
_MINE: Final = ("id", "organisation_id")


def _sql(column: str) -> str:
    return "s.school_id" if column == "student_school_id" else f"r.{column}"


def _equals(column: str, mine: str) -> Expression:
    """Compare the record's ``column`` with the assignment's ``mine``; null equals nothing."""
    return Expression(f"{column} == my_{mine}", f"{_sql(column)} = a.{mine}", (column,))


def _contains(column: str, mine: str) -> Expression:
    sql = f"a.{mine} = any({_sql(column)})"
    return Expression(f"my_{mine} in {column}", sql, (column,))


def _is(column: str, *values: str) -> Expression:
    listed = ", ".join(f"'{value}'" for value in values)
    return Expression(f"{column} in ({listed},)", f"{_sql(column)} in ({listed})", (column,))


def _true(column: str) -> Expression:
    return Expression(column, _sql(column), (column,))


#: what closes a record to everybody whatever else holds (AC-DO-14, deleted drafts)
EXISTS: Final = Expression(
    "status != 'deleted' and not (kind == 'case' and status == 'withdrawn')",
    "r.status <> 'deleted' and not (r.kind = 'case' and r.status = 'withdrawn')",
    ("kind", "status"),
)
#: where a record is in its life
_STAGE: Final = frozenset({"kind", "status"})
_AT_MY_SCHOOL: Final = _equals("student_school_id", "organisation_id")
RELATIONS: Final[Mapping[str, Expression]] = {
    "now_at_my_school": _AT_MY_SCHOOL,
    "of_my_school": _AT_MY_SCHOOL & _equals("school_id", "organisation_id"),
    "made_by_me": _equals("made_by", "id"),
    "made_at_my_school": _equals("made_at", "organisation_id"),
    "contact_is_me": _equals("primary_contact", "id"),
    "of_my_provider": _equals("provider_id", "organisation_id"),
    "assigned_to_me": _equals("case_manager", "id"),
    "on_team": _contains("team", "id"),
    "submitted": _true("submitted"),
    "under_review": _is("kind", "request") & _is("status", "submitted"),
    "open_or_closed": _is("status", "allocated", "assigned", "active", "closed"),
    "active": _is("status", "active"),
    "closed": _is("status", "closed"),
}

#: the facts that hold between an assignment and a record of a student, as bits
RecordFacts = Callable[[Record, Student, Assignment], int]
#: the same of the columns of a row
RowFacts = Callable[[Columns, Assignment], int]
#: of either, whichever it was compiled for
_Compiled = Callable[[Any, Any, Assignment], int]


def conditions(policy: Policy, role: str, kind: str) -> list[str]:
    """Return the SQL conditions any one of which lets ``role`` see something of a ``kind``.

    Facts of things inside a record are taken to hold: they are decided thing by thing, and who
    has authored something sees it only in a record that they see (AC-SEE-25). A row that needs
    more than another adds nothing and is left out.
    """
    found = policy.needs(role, "read", kind)
    every = {needs - THING_FACTS for needs in found if "authored" not in needs}
    least = [needs for needs in every if not any(other < needs for other in every)]
    return sorted(" and ".join(RELATIONS[n].sql for n in sorted(needs)) for needs in least)


def seen_by(policy: Policy) -> str:
    """Return the SQL condition that assignment ``a`` sees something of a record.

    Made of the decision's own relations and rows, so that the two are equal (tested); for a
    statement that must not touch the content of what its caller sees nothing of.
    """
    branches = [
        f"a.role = '{role}' and r.kind = '{kind}' and ({' or '.join(found)})"
        for role in sorted({row.role for row in policy.rows} - {ANY_ROLE})
        for kind in ("case", "request")
        if (found := conditions(policy, role, kind))
    ]
    return f"{EXISTS.sql} and ({' or '.join(branches)})"


def compile_record_facts(policy: Policy, kind: RecordKind) -> dict[Role, RecordFacts]:
    """Return, for each role, what computes every relation which the policy's rows of it name.

    What no row of a role names changes no decision in that role, and is not even looked at.
    """
    sources = {column: source.format(_NUMBER) for column, source in _COLUMNS.items()}
    return {role: _of_role(policy, role, kind, sources) for role in Role}


def compile_row_facts(policy: Policy) -> RowFacts:
    """Return the same over the columns of a row, whatever the kind and the role."""
    sources = {column: _of_row(column, source) for column, source in _COLUMNS.items()}
    by: dict[tuple[str, str], _Compiled] = {
        (kind, role): _of_role(policy, role, kind, sources) for kind in RecordKind for role in Role
    }
    return lambda row, assignment: by[row.kind, assignment.role](row, None, assignment)


def _of_row(column: str, source: str) -> str:
    """Return how Python finds a column in :class:`Columns`, ids as their numbers."""
    if column == "team":
        return f"[one{_NUMBER} for one in r.team]"
    return f"(one := r.{column}) and one{_NUMBER}" if "{}" in source else f"r.{column}"


def _of_role(policy: Policy, role: Role, kind: RecordKind, sources: Mapping[str, str]) -> _Compiled:
    """Compile the function of record, student and assignment that computes the facts of ``role``.

    What follows from kind and status alone is looked up by the status, ``None`` where nobody sees
    the record. For a role whose rows name ``made_by_me`` besides, the source is::

        def facts(r, s, a):
         bits = stages[r.status]
         if bits is None: return 0
         made_by = r.made_by.assignment_id.int
         my_id = a.id.int
         if made_by == my_id: bits |= 8
         return bits
    """
    named = {n for row in policy.rows if row.role in (role, ANY_ROLE) for n in row.needs}
    used = {name: relation for name, relation in RELATIONS.items() if name in named}
    if not used:
        return lambda _r, _s, _a: 0
    staged = {name: r for name, r in used.items() if _STAGE.issuperset(r.columns)}
    rest = {name: r for name, r in used.items() if name not in staged}
    columns = dict.fromkeys(column for r in rest.values() for column in r.columns)
    mine = [m for m in _MINE if any(f"my_{m}" in r.python for r in rest.values())]
    lines = [
        "def facts(r, s, a):",
        f" bits = stages[{sources['status']}]",
        " if bits is None: return 0",
        *(f" {column} = {sources[column]}" for column in columns),
        *(f" my_{m} = a.{m}{_NUMBER}" for m in mine),
        *(f" if {r.python}: bits |= {policy.facts[name]}" for name, r in rest.items()),
        " return bits",
    ]
    scope: dict[str, Any] = {"stages": _stages(policy, kind, staged)}
    exec("\n".join(lines), scope)  # noqa: S102 - source is the constant tables above
    compiled: _Compiled = scope["facts"]
    return compiled


def _stages(
    policy: Policy, kind: RecordKind, staged: Mapping[str, Expression]
) -> dict[str, int | None]:
    """Return the facts that follow from each status; ``None`` where it closes a record to all."""
    found: dict[str, int | None] = dict.fromkeys(Status)
    for status in Status:
        stage = {"kind": kind, "status": status}
        if _holds(EXISTS, stage):
            found[status] = policy.bits(name for name, r in staged.items() if _holds(r, stage))
    return found


def _holds(relation: Expression, columns: Mapping[str, Any]) -> bool:
    return bool(eval(relation.python, {}, columns))  # noqa: S307 - a constant table
