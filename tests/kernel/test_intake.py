"""What a projector takes in: by the header line first, and decoded only where it is folded."""

from collections.abc import Sequence

import pytest

from services.authz import events as authz
from services.kernel.event_types import EventType, Kind, Registry, UnknownEvent
from services.kernel.events import CorruptEvent, Event, Service, decode, encode
from services.kernel.intake import Intake, decode_envelope
from tests.kernel.given import fact, read

REGISTRY = Registry(authz.TYPES)
WANTED = authz.PERSON_SUSPENDED


def suspensions(type_: str, _kind: str) -> bool:
    return type_ == WANTED


def of_people(_type: str, kind: str) -> bool:
    return kind == "person"


def rows(*events: Event) -> list[tuple[int, bytes]]:
    return [(position, encode(event)) for position, event in enumerate(events)]


def positions(taken: Sequence[Sequence[object]]) -> list[list[int]]:
    return [[getattr(r, "position", -1) for r in wanted] for wanted in taken]


def test_each_is_given_what_it_wants_and_in_order() -> None:
    intake = Intake(REGISTRY, [suspensions, of_people])
    given = rows(
        fact("session:1", type=WANTED), read(), fact("person:1"), fact("person:2", type=WANTED)
    )
    for _ in range(2):
        assert positions(intake.take(given)) == [[0, 3], [2, 3]]


def test_what_nobody_wants_is_not_decoded() -> None:
    """Bytes that nobody can read stop the folds that want them, and no others."""
    unreadable = encode(fact("session:1")).partition(b"\n")[0] + b'\n{"actor":5}'
    wanted = encode(fact("session:1", type=WANTED)).partition(b"\n")[0] + b'\n{"actor":5}'
    intake = Intake(REGISTRY, [suspensions])
    assert positions(intake.take([(0, unreadable), *rows(read())])) == [[]]
    with pytest.raises(CorruptEvent, match="position 7"):
        intake.take([(7, wanted)])
    with pytest.raises(CorruptEvent, match="position 8"):
        intake.take([(8, b"no header\n{}")])


def test_an_unknown_type_stops_it_though_nobody_wants_it() -> None:
    """A fold never skips what its build does not know; another service's types are not its own."""
    intake = Intake(REGISTRY, [suspensions])
    for _ in range(2):
        with pytest.raises(UnknownEvent, match=r"position 1: authz\.invented"):
            intake.take(rows(fact(), fact(type="authz.invented")))
    assert positions(intake.take(rows(fact(type="cases.invented")))) == [[]]


def test_a_newer_schema_stops_it_though_nobody_wants_it() -> None:
    intake = Intake(REGISTRY, [suspensions])
    assert positions(intake.take(rows(fact(data={"schema": 2})))) == [[]]
    with pytest.raises(UnknownEvent, match=r"position 1: .* schema 2"):
        intake.take(rows(fact(), fact(schema=2)))


def test_an_older_schema_is_taken_in_as_todays() -> None:
    renamed = EventType(
        WANTED, Service.AUTHZ, Kind.FACT, "t", 2, {1: lambda data: {"who": data["person_id"]}}
    )
    ((taken,),) = Intake(Registry([renamed]), [suspensions]).take(rows(fact(type=WANTED)))
    assert (taken.event.schema, set(taken.event.data)) == (2, {"who"})


@pytest.mark.parametrize("event", [fact("person:1", 3), read()])
def test_an_envelope_says_what_the_whole_event_says(event: Event) -> None:
    whole, envelope = decode(4, encode(event)), decode_envelope(4, encode(event))
    for name in ("id", "type", "stream", "version", "recorded_at", "actor"):
        assert getattr(envelope.event, name) == getattr(whole.event, name)
    assert (envelope.position, envelope.body) == (4, whole.body)
    for body in (b"", encode(event)[:-1], encode(event).replace(b"recorded_at", b"recorded_it")):
        with pytest.raises(CorruptEvent, match="position 5"):
            decode_envelope(5, body)
