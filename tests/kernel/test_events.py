"""The canonical bytes: one event, one body, one leaf hash; every byte counts."""

import hashlib
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kernel.events import (
    MAX_BODY_BYTES,
    Actor,
    CorruptEvent,
    Event,
    Ground,
    ObjectRef,
    Origin,
    Outcome,
    decode,
    encode,
    guard_key,
    header,
    leaf_hash,
)
from tests.conftest import TYPES
from tests.kernel.given import fact, read

_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_zone = st.integers(-12 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m)))
_time = st.datetimes(datetime(1900, 1, 2), datetime(2200, 1, 1), timezones=_zone)  # noqa: DTZ001
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=8,
)
_maybe_id = st.none() | st.uuids()
_place = st.one_of(
    st.just((None, None)),
    st.tuples(
        st.from_regex(r"[a-z0-9:._-]{1,30}", fullmatch=True), st.integers(1, 2**31 - 1)
    ).filter(lambda place: place[0] != "-"),
)
_events = st.builds(
    lambda place, **fields: Event(stream=place[0], version=place[1], **fields),
    _place,
    id=st.uuids(),
    type=st.sampled_from([t.name for t in TYPES]),
    schema=st.integers(1, 3),
    recorded_at=_time,
    effective_at=st.none() | _time,
    actor=st.builds(
        Actor, person_id=_maybe_id, client_id=st.none() | _text, organisation_id=_maybe_id
    ),
    origin=st.builds(
        Origin, sealed=st.none() | _text, request_id=st.none() | _text, session_id=_maybe_id
    ),
    action=_text,
    outcome=st.sampled_from(Outcome),
    grounds=st.lists(
        st.builds(
            Ground,
            assignment_id=st.uuids(),
            role=_text,
            clause=_text,
            parts=st.lists(_text, max_size=2).map(tuple),
        ),
        max_size=2,
    ).map(tuple),
    policy_version=st.none() | _text,
    purpose=st.none() | _text,
    student_id=_maybe_id,
    object=st.none() | st.builds(ObjectRef, type=_text, id=_text),
    organisation_id=_maybe_id,
    shown=st.dictionaries(_text, st.lists(_text, max_size=2), max_size=2),
    touches=st.lists(_text, max_size=2).map(tuple),
    data=st.dictionaries(_text, _json, max_size=3),
)


@given(_events)
def test_what_is_decoded_is_what_was_encoded(event: Event) -> None:
    recorded = decode(7, encode(event))
    assert recorded.event == event
    assert recorded.position == 7
    assert encode(recorded.event) == recorded.body == encode(event)


def _twin(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return an equal value made anew, its keys in the opposite order."""
    match value:
        case dict():
            return {key: _twin(value[key]) for key in reversed(value)}
        case list():
            return [_twin(item) for item in value]
        case _:
            return value


@given(_events)
def test_equal_events_have_equal_bytes_in_whatever_order_their_keys_came(event: Event) -> None:
    twin = msgspec.structs.replace(
        event,
        actor=msgspec.structs.replace(event.actor),
        origin=msgspec.structs.replace(event.origin),
        data=_twin(dict(event.data)),
        shown=_twin(dict(event.shown)),
    )
    assert twin == event
    assert encode(twin) == encode(event)


@given(_events, st.data())
def test_any_changed_byte_changes_the_leaf_hash(event: Event, data: st.DataObject) -> None:
    body = encode(event)
    place = data.draw(st.integers(0, len(body) - 1))
    changed = bytearray(body)
    changed[place] ^= data.draw(st.integers(1, 255))
    assert leaf_hash(bytes(changed)) != leaf_hash(body)


@given(st.binary(max_size=300))
def test_bytes_that_are_no_event_are_corrupt(body: bytes) -> None:
    with pytest.raises(CorruptEvent):
        decode(3, body)


@pytest.mark.parametrize("place", [0, 20, 40])
def test_an_event_cut_short_is_corrupt(place: int) -> None:
    body = encode(fact())
    with pytest.raises(CorruptEvent, match="position 5"):
        decode(5, body[:-1])
    with pytest.raises(CorruptEvent):
        decode(5, body[:place])


def test_the_leaf_hash_is_that_of_rfc_6962() -> None:
    """RFC 6962, section 2.1: SHA-256(0x00 || entry). The empty leaf's hash is published widely."""
    empty = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert leaf_hash(b"").hex() == empty
    assert leaf_hash(b"L123456").hex() == hashlib.sha256(b"\0L123456").hexdigest()


def test_the_bytes_of_one_event_stay_as_they_are() -> None:
    """Old receipts must verify for ever: this text never changes."""
    event = fact(
        "person:1",
        2,
        "person:1",
        id=UUID(int=5),
        actor=Actor(person_id=UUID(int=6)),
        shown={"b": ["2"], "a": ["1"]},
        data={"z": None, "a": "Ōtāhuhu"},
    )
    assert encode(event).decode() == (
        "00000000-0000-0000-0000-000000000005 authz.person_reinstated person:1 2\n"
        '{"actor":{"person_id":"00000000-0000-0000-0000-000000000006"},'
        '"data":{"a":"Ōtāhuhu","z":null},"recorded_at":"2026-03-03T00:00:00Z",'
        '"shown":{"a":["1"],"b":["2"]},"touches":["person:1"]}'
    )


def test_an_observations_header_has_no_stream() -> None:
    event = read(id=UUID(int=1))
    assert header(event) == f"{UUID(int=1)} authz.read - -"


def test_a_body_has_at_most_65535_bytes() -> None:
    """The tiles' entries carry a length of 16 bits."""
    room = MAX_BODY_BYTES - len(encode(read(data={"x": ""})))
    assert len(encode(read(data={"x": "y" * room}))) == MAX_BODY_BYTES
    with pytest.raises(ValueError, match="65,535"):
        encode(read(data={"x": "y" * (room + 1)}))


def test_guard_keys_are_the_same_in_every_process() -> None:
    assert guard_key("person:1") == 0x57409BD4E709B818  # printf person:1 | b2sum -l 64
    assert -(2**63) <= guard_key("person:2") < 2**63
