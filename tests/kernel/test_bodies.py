"""A body is as large as its model may need and no larger, and few errors of it are looked for."""

import json
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from services.kernel.bodies import (
    LARGEST_BYTES,
    MOST_MEMBERS,
    SMALL_BYTES,
    check_json,
    most_bytes,
    most_bytes_of,
)
from services.kernel.errors import Malformed
from services.kernel.texts import Body, Line, Moment, Prose

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


class Unbounded(BaseModel):
    text: str


def _most(model: Any) -> int:  # noqa: ANN401 - whatever a route declares
    schema = TypeAdapter(model).json_schema()
    return most_bytes(schema, schema.get("$defs", {}))


def test_the_longest_that_a_model_takes_fits_however_it_is_written() -> None:
    longest = {
        "kind": "document",
        "text": FACE * 20_000,
        "summary": FACE * 200,
        "ids": [f"urn:uuid:{UUID(int=n)}" for n in range(100)],
    }
    written = json.dumps(longest, indent=4)
    Large.model_validate_json(written)
    assert 240_000 < len(written) < _most(Large) < 310_000
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
