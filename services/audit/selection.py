"""Conditions of a query, gathered one by one, with their parameters numbered.

Nothing a caller sent ever becomes SQL text: clauses are literals with ``{}`` where a parameter's
placeholder goes.

What an organisation's own auditor asks is answered from rows of that organisation: every way into
a table that a condition here leaves open leads by the organisation, so that an id which is much
used elsewhere and one that does not exist cost the same (domain, "Nobody else sees anything").
"""

from collections.abc import Sequence
from uuid import UUID

from services.audit.grounds import Scope
from services.audit.models import AlertQuery, EventQuery, SessionQuery
from services.kernel.events import Event


class Selection:
    """The ``where`` of a query and its parameters; ``own.id`` is an organisation of the scope."""

    def __init__(self, scope: Scope) -> None:
        self._clauses: list[str] = ["true"]
        self._ways: Sequence[str] = ("true",)
        self.everywhere = scope.everywhere
        self.parameters: list[object] = [] if scope.everywhere else [scope.own]

    def add(self, clause: str, *values: object) -> None:
        """Require ``clause``; ``{0}`` in it stands for the first of ``values``, and so on."""
        self._clauses.append(clause.format(*self._placeholders(values)))

    def either(self, *clauses: str, of: Sequence[object]) -> None:
        """Require one of ``clauses``, each of which has an index; ``of`` are the values of all.

        The rows of each are found by themselves: no plan walks everything for the one that is rare.
        """
        at = self._placeholders(of)
        self._ways = [clause.format(*at) for clause in clauses]

    def _placeholders(self, values: Sequence[object]) -> list[str]:
        first = len(self.parameters) + 1
        self.parameters.extend(values)
        return [f"${first + n}" for n in range(len(values))]

    def given(self, clause: str, value: object | None) -> None:
        """Require ``clause`` when the caller asked for it."""
        if value is not None:
            self.add(clause, value)

    def newest(self, rows_of: str, position: str, limit: int) -> str:
        """Return the statement for the rows with the highest positions, each once.

        ``rows_of`` is a ``select`` without conditions whose rows have a ``position``, which is the
        column ``position`` there. Of each organisation of the scope, and of each of the clauses of
        :meth:`either`, the newest are taken by themselves, then the newest of these.
        """
        clauses = " and ".join(self._clauses)
        newest = f"order by {position} desc limit {limit:d}"
        rows = " union all ".join(
            f"({rows_of} where {clauses} and {way} {newest})" for way in self._ways
        )
        if self.everywhere and len(self._ways) == 1:
            return rows
        places = "" if self.everywhere else "unnest($1::uuid[]) own(id) cross join lateral "
        return (
            f"select distinct on (found.position) found.* from {places}({rows}) found"
            f" order by found.position desc limit {limit:d}"
        )


def of_alerts(query: AlertQuery, scope: Scope) -> Selection:
    """Return the conditions of a query for alerts, ``a`` being ``audit.alert``."""
    selection = Selection(scope)
    selection.given("a.status = {0}", query.status)
    selection.given("a.rule = {0}", query.rule)
    _person(selection, "a", query.person, own="own_person_id")
    return selection


def of_sessions(query: SessionQuery, scope: Scope) -> Selection:
    """Return the conditions of a query for sessions, ``s`` being ``audit.login_session``."""
    selection = Selection(scope)
    _person(selection, "s", query.person, own="person_id")
    return selection


def _person(selection: Selection, rows: str, person: UUID | None, *, own: str) -> None:
    """Keep the scope's rows, and of a person asked for theirs.

    For an organisation's own auditor both are one condition, which no plan can take apart; ``own``
    is the column of whom the row names to them.
    """
    if selection.everywhere:
        selection.given(f"{rows}.person_id = {{0}}", person)
    elif person is None:
        selection.add(f"{rows}.organisation_id = own.id")
    else:
        both = f"{rows}.organisation_id::text || {rows}.{own}::text"
        selection.add(f"{both} = own.id::text || {{0}}::text", str(person))


def of_events(query: EventQuery, scope: Scope) -> Selection:
    """Return the conditions of a query for events, ``e`` being :func:`events_of` the scope."""
    selection = Selection(scope)
    if not selection.everywhere:
        selection.add("e.organisation_id = own.id")
    _actor(selection, query.actor)
    _object(selection, query.object)
    _student(selection, query.student)
    selection.given("e.type = {0}", query.type)
    selection.given("e.action = {0}", query.action)
    selection.given("e.outcome = {0}", query.outcome)
    selection.given("e.recorded_at >= {0}", query.since)
    selection.given("e.recorded_at < {0}", query.until)
    return selection


def shows(query: EventQuery, scope: Scope, event: Event) -> bool:
    """Say whether :func:`of_events` of a scope finds an event, which passes every filter."""
    return (
        scope.covers(event)
        and (query.actor is None or scope.names_actor(event))
        and (query.student is None or scope.names_learner(event))
    )


def events_of(selection: Selection) -> str:
    """Return the table that a selection of events is of."""
    return "audit.event" if selection.everywhere else "audit.organisation_event"


def _actor(selection: Selection, actor: str | None) -> None:
    if actor is None:
        return
    try:
        selection.add("e.actor_id = {0}", UUID(actor))
    except ValueError:
        selection.add("e.client_id = {0}", actor)


def _student(selection: Selection, student: UUID | None) -> None:
    """Keep what is about a learner; a refusal only for who is told whom it was about."""
    if selection.everywhere:
        about = "e.position in (select position from audit.event_student where student_id = {0})"
    else:
        about = (
            "e.position in (select s.position from audit.organisation_student s"
            " where s.organisation_id = own.id and s.student_id = {0})"
        )
    selection.given(about, student)


def _object(selection: Selection, object_: str | None) -> None:
    """Keep what was done to a thing, and what was done to anything that is part of it."""
    if object_ is None:
        return
    kind, colon, id_ = object_.partition(":")
    if colon:
        selection.either(
            "e.object_id = {0} and e.object_type = {1}",
            "e.record_id = {0} and e.record_type = {1}",
            of=(_as_written(id_), kind),
        )
    else:
        selection.either("e.object_id = {0}", "e.record_id = {0}", of=(_as_written(object_),))


def _as_written(id_: str) -> str:
    """Return an id as events have it: a UUID in small letters, with hyphens."""
    try:
        return str(UUID(id_))
    except ValueError:
        return id_
