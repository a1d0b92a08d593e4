"""A body is as large as its model may need and no larger, and few errors of it are looked for."""

import json
import unicodedata
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import httpx
import msgspec
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from services.kernel import bodies
from services.kernel.application import application
from services.kernel.bodies import (
    LARGEST_BYTES,
    MOST_MEMBERS,
    SMALL_BYTES,
    check_json,
    most_bytes,
    most_bytes_of,
)
from services.kernel.boundary import Boundary
from services.kernel.documents import Ways
from services.kernel.errors import Malformed
from services.kernel.events import MAX_BODY_BYTES, Service
from services.kernel.texts import MAX_TEXTS, Body, Line, Moment, Prose, written_bytes

#: one character of two escapes
FACE: Final = "\N{GRINNING FACE}"


class Small(Body):
    text: Line
    at: Moment


class Large(Body):
    kind: Literal["note", "document"]
    text: Prose
    summary: Line | None = None
    ids: Annotated[tuple[UUID, ...], Field(max_length=100)] = ()


class Note(BaseModel):
    text: Prose


class Nested(Body):
    text: Prose | None = None
    notes: tuple[Note, ...] = ()
    lines: tuple[Line, ...] = ()
    ids: frozenset[UUID] = frozenset()


class Unbounded(BaseModel):
    text: str


def _most(model: Any) -> int:  # noqa: ANN401 - whatever a route declares
    schema = TypeAdapter(model).json_schema()
    return most_bytes(schema, schema.get("$defs", {}))


def test_the_longest_that_a_model_takes_fits_however_it_is_written() -> None:
    longest = {
        "kind": "document",
        "text": "é" * 19_500,
        "summary": FACE * 200,
        "ids": [f"urn:uuid:{UUID(int=n)}" for n in range(100)],
    }
    written = json.dumps(longest, indent=4)
    Large.model_validate_json(written)
    assert 120_000 < len(written) < _most(Large) < 310_000
    assert _most(Large | None) == _most(Large)


def test_a_small_model_takes_as_much_as_every_body() -> None:
    assert _most(Small) == SMALL_BYTES


def test_no_body_is_larger_than_what_could_be_recorded() -> None:
    """Three texts of 20,000 characters do not fit one event."""

    class Three(Body):
        one: Prose
        two: Prose
        three: Prose

    assert _most(Three) == LARGEST_BYTES < 3 * 12 * 20_000


#: texts of exactly as many bytes as a body may have, and where in it they stand
_FULL: Final[dict[str, dict[str, Any]]] = {
    "in two": {"text": "é" * 10_000, "notes": [{"text": "x" * 20_000}]},
    "of many bytes": {"text": "語" * 13_333, "lines": ["x"]},
    "escaped": {"text": '"\\\n\t' * 4_999 + "a" * 4, "lines": ["aaaa"]},
    "in lists": {"notes": [{"text": "x" * 19_900}] * 2, "lines": ["x" * 200]},
    "put in order": {"text": "e\u0301" * 9_999 + "\r\n", "notes": [{"text": "é" * 10_000}]},
}


@pytest.mark.parametrize("texts", _FULL.values(), ids=_FULL)
def test_all_texts_of_a_body_have_a_bound_together(texts: dict[str, Any]) -> None:
    """SG-18: what they become, sealed, has to fit an event; nested ones and lists count."""
    Nested.model_validate_json(json.dumps(texts | {"ids": [str(UUID(int=n)) for n in range(100)]}))
    more = {**texts, "lines": [*texts.get("lines", ()), "a"]}
    with pytest.raises(ValidationError) as refused:
        Nested.model_validate_json(json.dumps(more))
    assert [(one["loc"], one["type"]) for one in refused.value.errors()] == [
        ((), "texts_over_40000_bytes")
    ]


@given(st.text(st.characters(exclude_categories=("Cc", "Cs")) | st.sampled_from('"\\\n\t')))
def test_a_text_is_counted_as_it_will_be_written(text: str) -> None:
    assert written_bytes(text) == len(msgspec.json.encode(text)) - 2


def test_the_bound_leaves_room_in_an_event() -> None:
    """Sealed texts are base64: four bytes for three."""
    assert MAX_TEXTS * 4 / 3 < MAX_BODY_BYTES - 12_000


def test_a_model_without_bounds_is_none() -> None:
    """So that no route is made that takes whatever comes."""
    with pytest.raises(TypeError, match="no bound"):
        _most(Unbounded)


def test_a_route_takes_what_its_model_or_its_description_does() -> None:
    app = FastAPI()

    @app.post("/large")
    async def large(body: Large | None = None) -> None: ...

    @app.post("/none")
    async def none() -> None: ...

    described = {"content": {"application/json": {"schema": Large.model_json_schema()}}}

    @app.post("/by-hand", openapi_extra={"requestBody": described})
    async def by_hand() -> None: ...

    routes = {route.path: route for route in app.routes if isinstance(route, APIRoute)}
    assert most_bytes_of(routes["/large"]) == _most(Large)
    assert most_bytes_of(routes["/by-hand"]) == _most(Large)
    assert most_bytes_of(routes["/none"]) == most_bytes_of(None) == SMALL_BYTES


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(json.dumps({str(n): 1 for n in range(MOST_MEMBERS + 1)}), id="names"),
        pytest.param(json.dumps([1] * (MOST_MEMBERS + 1)), id="elements"),
        pytest.param("[" * (MOST_MEMBERS + 1) + "]" * (MOST_MEMBERS + 1), id="depth"),
        pytest.param(json.dumps([{}] * (MOST_MEMBERS // 2 + 1)), id="objects"),
        pytest.param('"' + '\\"[' * 9 + '",' + "[" * (MOST_MEMBERS + 1), id="behind a text"),
    ],
)
def test_a_body_of_too_many_members_is_malformed(body: str) -> None:
    with pytest.raises(Malformed, match="members"):
        check_json(body.encode())


def test_as_many_members_as_any_may_have_are_taken() -> None:
    check_json(json.dumps({str(n): str(n) for n in range(MOST_MEMBERS)}).encode())
    check_json(json.dumps([str(n) for n in range(MOST_MEMBERS)]).encode())


_VALUES: Final = st.recursive(
    st.none() | st.integers() | st.text(alphabet='"\\[{,:é\x00\n\U0001f600'),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(alphabet='"\\[,a'), inner),
    max_leaves=20,
)


def _count(value: object) -> int:
    """Count as the bound is worded: objects, arrays, and what separates their members."""
    match value:
        case dict():
            return 1 + max(len(value) - 1, 0) + sum(map(_count, value.values()))
        case list():
            return 1 + max(len(value) - 1, 0) + sum(map(_count, value))
        case _:
            return 0


@given(_VALUES, st.booleans())
def test_members_are_counted_without_parsing_whatever_texts_hold(
    value: object,
    ascii_only: bool,  # noqa: FBT001 - drawn
) -> None:
    written = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert bodies._members(written) == _count(value)


def test_what_a_text_holds_is_no_member() -> None:
    check_json(json.dumps({"text": 'a, [b], {c}, "d", \\ ' * 1_000}).encode())
    check_json(json.dumps({"ids": list(range(MOST_MEMBERS - 3)), "last": 1}).encode())


@pytest.mark.parametrize("piece", ['"', '\\"', "\\", '"a",', '{"0":', "[{},"])
def test_what_opens_and_never_closes_is_malformed(piece: str) -> None:
    """As large as any: looking at it again from each sign on would take hours."""
    body = ('"' + piece * LARGEST_BYTES)[:LARGEST_BYTES].encode()
    with pytest.raises(Malformed):
        check_json(body)


def test_marks_upon_marks_are_no_text() -> None:
    """Putting 20,000 of them in order takes a second; UAX #15 knows no more than thirty."""
    stacked = TypeAdapter(Prose)
    assert stacked.validate_python("a" + "\u0301" * 30)
    with pytest.raises(ValidationError, match="text_marks"):
        stacked.validate_python("a" + "\u0301\u0316" * 9_999)


#: what the route of :func:`client` was called with
TAKEN: list[Any] = []
JSON: Final = {"content-type": "application/json"}


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = application(Service.CASES, Ways())

    @app.post("/large")
    async def large(body: Large) -> str:
        TAKEN.append(body)
        return body.text

    @app.post("/none")
    async def none() -> None:
        TAKEN.append(None)

    TAKEN.clear()
    transport = httpx.ASGITransport(app=Boundary(app, Service.CASES), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        yield client


_ENCODING: Final = "the body is not JSON in UTF-8"
_MEMBERS: Final = "the body has more members than any may have"


@pytest.mark.parametrize("path", ["/large", "/none"])
@pytest.mark.parametrize(
    ("body", "detail"),
    [
        pytest.param(b'{"text":"a","text":"b"}', "a name comes twice", id="a name twice"),
        pytest.param(b'{"te\\u0078t":"a","text":"b"}', "a name comes twice", id="escaped"),
        pytest.param(b'{"text":"a","n":{"x":1,"x":1}}', "a name comes twice", id="within"),
        pytest.param(b'{"text":NaN}', _ENCODING, id="NaN"),
        pytest.param(b'{"text":-Infinity}', _ENCODING, id="Infinity"),
        pytest.param(b'{"text":' + b"9" * 5_000 + b"}", _ENCODING, id="a number without end"),
        pytest.param(b'{"text":"\xff"}', _ENCODING, id="not UTF-8"),
        pytest.param(b'{"text":"\xed\xa0\x80"}', _ENCODING, id="a surrogate in UTF-8"),
        pytest.param(b'\xef\xbb\xbf{"text":"a"}', "0: json_invalid", id="a mark"),
        pytest.param('{"text":"a"}'.encode("utf-16"), _ENCODING, id="UTF-16"),
        pytest.param('{"text":"a"}'.encode("utf-16-le"), "1: json_invalid", id="UTF-16, no mark"),
        pytest.param(b'{"text":"a\x00b"}', "10: json_invalid", id="a raw NUL"),
        pytest.param(b'{"text":"a"}{}', "12: json_invalid", id="two bodies"),
        pytest.param(b'{"text":"a"', "11: json_invalid", id="cut off"),
        pytest.param(b"{'text':1}", "1: json_invalid", id="other quotes"),
        pytest.param(b" ", "1: json_invalid", id="blank"),
        pytest.param(b"[" * 16_000, _MEMBERS, id="deep"),
        pytest.param(b'{"text":[' + b"1," * 300 + b"1]}", _MEMBERS, id="many"),
        pytest.param(b'""' * 8_000, _MEMBERS, id="many texts"),
    ],
)
async def test_a_body_that_is_ambiguous_reaches_no_route(
    client: httpx.AsyncClient, path: str, body: bytes, detail: str
) -> None:
    """RFC 8259, sections 4, 6 and 8: and its sender is told what is wrong."""
    answer = await client.post(path, content=body, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (422, "malformed")
    assert answer.json()["detail"].startswith(detail)
    assert answer.headers["content-type"] == "application/problem+json"
    assert TAKEN == []


@pytest.mark.parametrize(
    "value", [r'"\ud800"', r'"a\u0000b"', "1e999", "9" * 4_000, "true", "null", '"\\u202e"']
)
async def test_a_value_that_no_model_takes_reaches_no_route(
    client: httpx.AsyncClient, value: str
) -> None:
    """What JSON can say and a text cannot be is told as such."""
    body = f'{{"kind":"note","text":{value}}}'
    answer = await client.post("/large", content=body, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (422, "malformed")
    assert answer.json()["detail"].startswith("text: ")
    assert TAKEN == []


async def test_a_body_is_taken_in_whatever_pieces_it_comes(client: httpx.AsyncClient) -> None:
    text = 'a "quoted" \\ text, [with] {signs}, \N{GRINNING FACE}'
    whole = json.dumps({"kind": "note", "text": text}).encode()

    async def pieces() -> AsyncIterator[bytes]:
        for n in range(len(whole)):
            yield whole[n : n + 1]

    answer = await client.post("/large", content=pieces(), headers=JSON)
    assert (answer.status_code, answer.json()) == (200, text)


async def test_a_body_of_too_many_members_is_parsed_by_nobody(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """130,000 objects take longer to make than everything else that is done for a request."""
    parsed: list[object] = []
    with monkeypatch.context() as watched:
        watched.setattr(json, "loads", lambda *_, **__: parsed.append("parsed"))
        body = b"[" + b"{}," * 90_000 + b"{}]"
        answer = await client.post("/large", content=body, headers=JSON)
    assert answer.json()["detail"] == _MEMBERS
    assert parsed == []


async def test_another_encoding_is_refused_even_when_nothing_is_sent(
    client: httpx.AsyncClient,
) -> None:
    headers = {"content-type": "application/json; charset=utf-16"}
    for path in ("/large", "/none"):
        answer = await client.post(path, content=b"{}", headers=headers)
        assert (answer.status_code, answer.json()["detail"]) == (422, _ENCODING)


def test_a_character_is_refused_by_what_unicode_says_it_is() -> None:
    """Controls, surrogates, separators and signs of direction, of all characters there are."""
    line = TypeAdapter(Line)
    refused = {"Cc", "Cs", "Zl", "Zp"}
    turning = set(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A))))
    for first in range(0, 0x110000, 128):
        characters = [chr(n) for n in range(first, first + 128)]
        wrong = {c for c in characters if unicodedata.category(c) in refused or c in turning}
        good = "a" + "a".join(c for c in characters if c not in wrong)
        assert line.validate_python(good[:100])
        assert line.validate_python(good[-100:] + "a")
        for character in wrong if first < 0xD800 or first > 0xDFFF else list(wrong)[:1]:
            with pytest.raises(ValidationError, match=r"string_unicode|text_unprintable"):
                line.validate_python(f"a{character}b")
