"""How an assignment stands to a record: each relation defined once, used both ways.

A relation is a small expression over the columns of a record (``r``), of its student (``s``) and
of one assignment (``a``). It is compiled to a Python predicate, for one record in hand, and to a
SQL condition, for lists. A property test holds the two equal over random worlds.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import msgspec

from services.authz.directory import Assignment
from services.authz.engine import Policy
from services.cases.record import Record, Student

#: facts of one thing inside a record, not of the record; decided thing by thing
THING_FACTS: Final = frozenset(
    {"shared", "cleared", "agreed", "authored", "seen_itself", "elsewhere", "sees_record"}
)


class View(msgspec.Struct, frozen=True):
    """The columns that relations speak of, as one row has them."""

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


def view_of(record: Record, student: Student | None) -> View:
    """Return the columns of ``record`` and of its ``student`` that relations speak of."""
    return View(
        record.kind,
        record.status,
        record.school_id,
        student.school_id if student else None,
        record.provider_id,
        record.made_by.assignment_id,
        record.made_by.organisation_id,
        record.case_manager.assignment_id if record.case_manager else None,
        record.primary_contact.assignment_id if record.primary_contact else None,
        tuple(member.assignment_id for member in record.team),
        record.submitted_at is not None,
        record.notified,
    )


@dataclass(frozen=True, slots=True)
class Expression:
    """A condition in both languages."""

    python: str
    sql: str

    def __and__(self, other: "Expression") -> "Expression":
        """Both hold."""
        return Expression(f"{self.python} and {other.python}", f"{self.sql} and {other.sql}")


def _column(name: str) -> tuple[str, str]:
    if name == "student_school_id":
        return "r.student_school_id", "s.school_id"
    return f"r.{name}", f"r.{name}"


def _equals(column: str, mine: str) -> Expression:
    """Compare the record's ``column`` with the assignment's ``mine``; null equals nothing."""
    python, sql = _column(column)
    # As numbers: comparing UUID objects costs three times as much.
    same = f"({python} is not None and {python}.int == my_{mine})"
    return Expression(same, f"{sql} = a.{mine}")


def _contains(column: str, mine: str) -> Expression:
    python, sql = _column(column)
    return Expression(f"a.{mine} in {python}", f"a.{mine} = any({sql})")


def _is(column: str, *values: str) -> Expression:
    python, sql = _column(column)
    listed = ", ".join(f"'{value}'" for value in values)
    return Expression(f"{python} in ({listed},)", f"{sql} in ({listed})")


def _true(column: str) -> Expression:
    python, sql = _column(column)
    return Expression(python, sql)


#: what closes a record to everybody whatever else holds (AC-DO-14, deleted drafts)
EXISTS: Final = Expression(
    "r.status != 'deleted' and not (r.kind == 'case' and r.status == 'withdrawn')",
    "r.status <> 'deleted' and not (r.kind = 'case' and r.status = 'withdrawn')",
)
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

Facts = Callable[[View, Assignment], int]


def compile_facts(policy: Policy) -> Facts:
    """Return one function that computes every relation the policy names, as bits."""
    lines = [
        "def facts(r, a):",
        f" if not ({EXISTS.python}): return 0",
        " my_id, my_organisation_id, bits = a.id.int, a.organisation_id.int, 0",
    ]
    lines += [
        f" if {relation.python}: bits |= {policy.facts[name]}"
        for name, relation in RELATIONS.items()
        if name in policy.facts
    ]
    lines.append(" return bits")
    scope: dict[str, Facts] = {}
    exec("\n".join(lines), scope)  # noqa: S102 - source is the constant table above
    return scope["facts"]
