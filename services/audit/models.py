"""What requests to the audit service may say, as the contract spells it.

An unknown parameter or field is an error.
"""

from typing import Annotated, Final, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from services.audit.asking import MOST_SHOWN
from services.audit.detection.rules import FINDING_RULES
from services.audit.events import Verdict
from services.authz.client_events import CLIENT_ID
from services.kernel.events import Outcome
from services.kernel.texts import Body, Line, Moment, Prose

_OBJECT: Final = (
    "What was acted upon: an id, or `type:id` (`case:…`). An event is found under its own object, "
    "and under the record that this is part of: what was done to the items and the plan of a case, "
    "looks and refusals included, is found under the case. What a list or a search showed is not"
)


def _actor(value: str) -> str:
    """Refuse what is neither a person's id nor of the form of a client's."""
    try:
        return str(UUID(value))
    except ValueError:
        if CLIENT_ID.fullmatch(value) is None:
            raise PydanticCustomError("actor_no_id", "not the id of a person or client") from None
        return value


class Paging(Body):
    """Where a list begins and how much of it is wanted; an unknown parameter is refused."""

    limit: Annotated[int, Field(ge=1, le=MOST_SHOWN)] = 50
    cursor: Annotated[str, Field(min_length=1, max_length=1024)] | None = None

    def question(self) -> dict[str, object]:
        """Return the filters that were given, by parameter name."""
        return self.model_dump(
            mode="json", by_alias=True, exclude={"limit", "cursor"}, exclude_none=True
        )


class Window(Paging):
    """A list within a time: ``from`` inclusive, ``to`` exclusive."""

    since: Annotated[
        Moment | None, Field(alias="from", description="Recorded at this time or later")
    ] = None
    until: Annotated[
        Moment | None, Field(alias="to", description="Recorded before this time, not at it")
    ] = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.since and self.until and self.since > self.until:
            raise PydanticCustomError("window_inverted", "from is after to")
        return self


class EventQuery(Window):
    """Which events: those that pass every filter given."""

    actor: Annotated[
        Annotated[Line, AfterValidator(_actor)] | None,
        Field(description="The id of a person or of a service client"),
    ] = None
    student: Annotated[
        UUID | None, Field(description="The learner it is about, or one of those a list showed")
    ] = None
    object: Annotated[Line | None, Field(description=_OBJECT)] = None
    type: Annotated[Line | None, Field(description="A type of event; an unknown one is 422")] = None
    action: Line | None = None
    outcome: Outcome | None = None


class SessionQuery(Paging):
    """Whose sessions."""

    person: UUID | None = None


def _known_rule(name: str) -> str:
    if name not in FINDING_RULES:
        raise PydanticCustomError("rule_unknown", "no such rule")
    return name


RuleName = Annotated[
    Line, AfterValidator(_known_rule), Field(json_schema_extra={"enum": sorted(FINDING_RULES)})
]


class AlertQuery(Paging):
    """Which alerts."""

    status: Literal["open", "resolved"] | None = None
    rule: RuleName | None = None
    person: UUID | None = None


class Resolution(Body):
    """What an alert turned out to be. The note is sealed before it is stored (SG-18)."""

    verdict: Verdict
    note: Annotated[Prose, Field(max_length=4000)] | None = None
