"""The event types: each one service's, registered once, and old schemas read for ever."""

from collections.abc import Mapping

import msgspec
import pytest

from services.kernel.event_types import EventType, Kind, Registry, UnknownEvent, Upcaster
from services.kernel.events import Event, Service
from tests.conftest import TYPES
from tests.kernel.given import NOON


def _type(name: str, schema: int = 1, upcasters: Mapping[int, Upcaster] | None = None) -> EventType:
    return EventType(name, Service.AUTHZ, Kind.FACT, "title", schema, upcasters or {})


def test_a_type_belongs_to_the_service_it_is_named_after_and_is_registered_once() -> None:
    with pytest.raises(ValueError, match="not of service"):
        _type("cases.read")
    with pytest.raises(ValueError, match="twice"):
        Registry([_type("authz.a"), _type("authz.a")])


def test_an_old_schema_is_read_step_by_step_and_a_newer_one_not_at_all() -> None:
    steps: dict[int, Upcaster] = {1: lambda d: {**d, "two": 2}, 2: lambda d: {**d, "three": 3}}
    registry = Registry([_type("authz.a", 3, upcasters=steps)])
    old = Event(type="authz.a", recorded_at=NOON, data={"one": 1})
    assert registry.upcast(old).data == {"one": 1, "two": 2, "three": 3}
    assert old.data == {"one": 1}
    with pytest.raises(UnknownEvent, match="schema 4"):
        registry.upcast(msgspec.structs.replace(old, schema=4))
    with pytest.raises(UnknownEvent):
        registry.upcast(msgspec.structs.replace(old, type="authz.b"))


def test_a_registry_concerns_itself_with_its_own_services_only() -> None:
    registry = Registry([_type("authz.a")])
    assert registry.concerns("authz.unheard_of")
    assert not registry.concerns("cases.read")


def test_every_registered_type_has_a_name_the_header_can_carry() -> None:
    for type_ in TYPES:
        assert " " not in type_.name
        assert type_.title
