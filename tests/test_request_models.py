"""What every body model of every service takes for true, false and a moment: JSON's and RFC 3339's.

The models are found, not listed: one that is added later is held to the same.
"""

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest
from pydantic import BaseModel, ValidationError

import services.audit.app
import services.authz.app
import services.cases.app  # noqa: F401 - each defines the models of its service
from services.kernel.events import Service
from tests.test_openapi import Json, document, operations

#: "true" and 1 are texts and numbers, whatever they may mean elsewhere
NO_BOOLEANS: Final = ("true", "false", "t", "yes", "on", "1", 1, 0, 1.0)
NO_MOMENTS: Final = (
    *(1795663325, 1795663325000, 1795663325.5, 0, True),
    *("1795663325", "1795663325000", "-1", "1795663325.5"),
    *("2026-11-26", "2026-11-26T10:00:00", "2026-11-26T10:00Z", "20261126T100000Z"),
    *("2026-11-26T10:00:00+1300", "2026-11-26T10:00:00+13", "2026-11-26_10:00:00Z"),
    *("26 Nov 2026 10:00:00 +0000", "2026-11-26T10:00:00Z\n", "2026-02-30T10:00:00Z"),
    "２０２６-11-26T10:00:00Z",  # noqa: RUF001 - digits that are not ASCII's
)
MOMENTS: Final = (
    *("2026-11-26T10:00:00Z", "2026-11-26T10:00:00+13:00", "2026-11-26t10:00:00.123456z"),
    "2026-11-26 10:00:00-00:00",
)


def _models(of: type[BaseModel] = BaseModel) -> Iterator[type[BaseModel]]:
    for model in of.__subclasses__():
        yield model
        yield from _models(model)


def _taken(service: Service) -> list[type[BaseModel]]:
    """Return the models of the bodies that a service's document describes, each by its name."""
    here = f"services.{service}."
    known = {one.__name__: one for one in _models() if one.__module__.startswith(here)}
    names = set()
    for _, _, operation in operations(service):
        for body in operation.get("requestBody", {}).get("content", {}).values():
            for kind in body["schema"].get("anyOf", [body["schema"]]):
                if kind != {"type": "null"}:
                    names.add(kind.get("title") or kind["$ref"].rpartition("/")[2])
    return [known[name] for name in sorted(names)]


BODIES: Final = [model for service in Service for model in _taken(service)]


def _leaves(schema: Json, whole: Json, *, within: bool = False) -> Iterator[tuple[Json, bool]]:
    """Yield each kind of value that a field may have, and whether it stands within another."""
    if "$ref" in schema:
        schema = whole["$defs"][schema["$ref"].rpartition("/")[2]]
    yield schema, within
    for kind in schema.get("anyOf", ()):
        yield from _leaves(kind, whole, within=within)
    for kind in (*schema.get("properties", {}).values(), schema.get("items")):
        if kind:
            yield from _leaves(kind, whole, within=True)


def _fields(wanted: Json) -> list[tuple[type[BaseModel], str]]:
    """Return the fields, by the names they are sent under, that may be what ``wanted`` says."""
    found = []
    for model in BODIES:
        whole = model.model_json_schema()
        for name, field in whole["properties"].items():
            for leaf, within in _leaves(field, whole):
                if wanted.items() <= leaf.items():
                    assert not within, f"{model.__name__}.{name}: say here how to send it"
                    found.append((model, name))
    return found


FLAGS: Final = _fields({"type": "boolean"})
TIMES: Final = _fields({"type": "string", "format": "date-time"})


def _complaints(model: type[BaseModel], name: str, value: Any) -> list[str]:  # noqa: ANN401 - JSON
    """Return what a model says of one field, parsed as the framework does it and by hand."""
    said = []
    for parse, sent in (
        (model.model_validate, {name: value}),
        (model.model_validate_json, json.dumps({name: value})),
    ):
        try:
            parse(sent)  # type: ignore[arg-type] # each takes what stands beside it
        except ValidationError as error:
            said += [one["type"] for one in error.errors() if one["loc"][:1] == (name,)]
    return said


def test_the_models_are_those_of_every_route_that_takes_a_body() -> None:
    bodies = [o for service in Service for _, _, o in operations(service) if "requestBody" in o]
    assert len(bodies) > 30
    assert {model.__name__ for model in BODIES} > {"NewItem", "Resolution", "Credentials"}
    assert {(model.__name__, name) for model, name in FLAGS} >= {
        ("NewItem", "shared_with_school"),
        ("ItemEdit", "shared_with_school"),
    }
    assert {(model.__name__, name) for model, name in TIMES} >= {
        ("NewAccessDecision", "expires_at"),
        ("NewAssignment", "from"),
        ("NewAssignment", "until"),
        ("NewCatchment", "from"),
        ("NewCatchment", "until"),
    }


@pytest.mark.parametrize(("model", "name"), FLAGS)
def test_a_boolean_is_true_or_false_and_nothing_that_reads_like_it(
    model: type[BaseModel], name: str
) -> None:
    """SE: whether a school sees an item is not guessed."""
    for value in NO_BOOLEANS:
        assert _complaints(model, name, value) == ["bool_type"] * 2, value
    for value in (True, False):
        assert _complaints(model, name, value) == [], value


@pytest.mark.parametrize(("model", "name"), TIMES)
def test_a_time_is_written_out_with_its_offset(model: type[BaseModel], name: str) -> None:
    """SG-14: until when somebody has access is not guessed."""
    for value in NO_MOMENTS:
        said = _complaints(model, name, value)
        assert len(said) == 2, value
        assert set(said) <= {"moment_not_rfc_3339", "datetime_from_date_parsing"}, (value, said)
    for value in MOMENTS:
        assert _complaints(model, name, value) == [], value


@pytest.mark.parametrize("service", Service)
def test_the_bound_upon_all_texts_of_a_body_is_told(service: Service) -> None:
    said = document(service)["components"]["responses"]["Malformed"]["description"]
    assert "40,000 bytes" in said
    assert "texts_over_40000_bytes" in said
