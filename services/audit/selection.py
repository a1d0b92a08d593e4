"""Conditions of a query, gathered one by one, with their parameters numbered.

Nothing a caller sent ever becomes SQL text: clauses are literals with ``{}`` where a parameter's
placeholder goes.
"""

from collections.abc import Sequence
from uuid import UUID

from services.audit.grounds import Scope
from services.audit.models import AlertQuery, EventQuery, SessionQuery


class Selection:
    """The ``where`` of a query and its parameters."""

    def __init__(self) -> None:
        self._clauses: list[str] = ["true"]
        self.parameters: list[object] = []

    def add(self, clause: str, *values: object) -> None:
        """Require ``clause``; ``{0}`` in it stands for the first of ``values``, and so on."""
        first = len(self.parameters) + 1
        self.parameters.extend(values)
        self._clauses.append(clause.format(*(f"${first + n}" for n in range(len(values)))))

    def given(self, clause: str, value: object | None) -> None:
        """Require ``clause`` when the caller asked for it."""
        if value is not None:
            self.add(clause, value)

    def __str__(self) -> str:
        return " and ".join(self._clauses)


def within(selection: Selection, scope: Scope, columns: Sequence[str]) -> None:
    """Keep what any of ``columns`` puts in one of the scope's organisations."""
    if scope.organisations is not None:
        either = " or ".join(f"{column} = any({{0}})" for column in columns)
        selection.add(f"({either})", sorted(scope.organisations))


def of_alerts(query: AlertQuery, scope: Scope) -> Selection:
    """Return the conditions of a query for alerts."""
    selection = Selection()
    selection.given("status = {0}", query.status)
    selection.given("rule = {0}", query.rule)
    selection.given("person_id = {0}", query.person)
    within(selection, scope, ("organisation_id",))
    return selection


def of_sessions(query: SessionQuery, scope: Scope) -> Selection:
    """Return the conditions of a query for sessions, ``s`` being ``audit.login_session``.

    Of a person asked for by an organisation's own auditor both are one condition, which no plan
    can take apart: elsewhere they may have sessions or none, the work is the same.
    """
    selection = Selection()
    if scope.organisations is None:
        selection.given("s.person_id = {0}", query.person)
    elif query.person is None:
        within(selection, scope, ("s.organisation_id",))
    else:
        own = [f"{organisation}{query.person}" for organisation in sorted(scope.organisations)]
        selection.add("s.organisation_id::text || s.person_id::text = any({0}::text[])", own)
    return selection


def of_events(query: EventQuery, scope: Scope) -> Selection:
    """Return the conditions of a query for events, ``e`` being ``audit.event``."""
    selection = Selection()
    _actor(selection, query.actor)
    _object(selection, query.object)
    _student(selection, query.student, scope)
    selection.given("e.type = {0}", query.type)
    selection.given("e.action = {0}", query.action)
    selection.given("e.outcome = {0}", query.outcome)
    selection.given("e.recorded_at >= {0}", query.since)
    selection.given("e.recorded_at < {0}", query.until)
    within(selection, scope, ("e.actor_organisation_id", "e.organisation_id"))
    return selection


def _actor(selection: Selection, actor: str | None) -> None:
    if actor is None:
        return
    try:
        selection.add("e.actor_id = {0}", UUID(actor))
    except ValueError:
        selection.add("e.client_id = {0}", actor)


def _student(selection: Selection, student: UUID | None, scope: Scope) -> None:
    """Keep what is about a learner; a refusal only for who is told whom it was about.

    What others did to the learner is not even looked at: it would show in the time it takes.
    """
    if student is None:
        return
    if scope.organisations is None:
        about = "e.position in (select position from audit.event_student where student_id = {0})"
        selection.add(about, student)
        return
    about = (
        "e.position in (select position from audit.organisation_student"
        " where organisation_id = any({0}) and student_id = {1})"
    )
    selection.add(about, sorted(scope.organisations), student)


def _object(selection: Selection, object_: str | None) -> None:
    if object_ is None:
        return
    kind, colon, id_ = object_.partition(":")
    selection.add("e.object_id = {0}", id_ if colon else object_)
    if colon:
        selection.add("e.object_type = {0}", kind)
