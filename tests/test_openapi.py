"""The documents in ``openapi/`` are what the services say of themselves, and enough to code by."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from services.commands import openapi
from services.kernel import errors, problem_answers
from services.kernel.errors import MEDIA_TYPE, Problem
from services.kernel.http import PURPOSES

_WRITTEN = Path(__file__).parent.parent / "openapi"
_SERVICES: Final = ["authz", "cases", "audit"]
#: a clause of the domain, or a section of a standard
_CLAUSE: Final = re.compile(r"\b(AC-[A-Z]+|SG|BR|DP)-\d+|\bSE\)|\bRFC \d+")

Json = dict[str, Any]


def document(service: str) -> Json:
    """Return the written document of a service."""
    read: Json = json.loads((_WRITTEN / f"{service}.json").read_text())
    return read


def operations(service: str) -> Iterator[tuple[str, str, Json]]:
    """Yield method, path and description of every operation of a service."""
    for path, found in document(service)["paths"].items():
        for method, operation in found.items():
            yield method, path, operation


def answers(service: str, operation: Json) -> dict[str, Json]:
    """Return an operation's answers, those that are components looked up."""
    components = document(service)["components"]["responses"]
    return {
        status: components[said["$ref"].rpartition("/")[2]] if "$ref" in said else said
        for status, said in operation["responses"].items()
    }


@pytest.mark.parametrize("service", _SERVICES)
async def test_the_written_document_has_not_drifted(service: str) -> None:
    written = (_WRITTEN / f"{service}.json").read_text()
    now = {str(name): text for name, text in (await openapi.documents()).items()}
    assert now[service] == written, "run `make openapi`"


@pytest.mark.parametrize("service", _SERVICES)
def test_every_reference_leads_somewhere_and_every_component_is_referred_to(service: str) -> None:
    whole = document(service)
    named = set(re.findall(r'"\$ref": "#/components/(\w+/\w+)"', json.dumps(whole)))
    there = {
        f"{kind}/{name}"
        for kind in ("headers", "parameters", "responses", "schemas")
        for name in whole["components"][kind]
    }
    assert named <= there
    spare = {"parameters/IfMatch", "responses/PreconditionFailed", "responses/PreconditionRequired"}
    assert there - named <= spare | {"parameters/IfNoneMatch", "headers/ETag"}


@pytest.mark.parametrize("service", _SERVICES)
def test_every_operation_says_what_it_is_called_what_for_and_by_which_clause(service: str) -> None:
    names = [operation["operationId"] for _, _, operation in operations(service)]
    assert len(names) == len(set(names))
    tags = {tag["name"] for tag in document(service)["tags"]}
    used = set()
    for method, path, operation in operations(service):
        assert re.fullmatch(r"[a-z]+(_[a-z]+)+", operation["operationId"]), (method, path)
        assert operation["summary"], (method, path)
        assert _CLAUSE.search(operation["description"]), (method, path)
        assert len(operation["tags"]) == 1, (method, path)
        used.update(operation["tags"])
    assert used == tags


@pytest.mark.parametrize("service", _SERVICES)
def test_every_operation_says_how_it_refuses_and_by_which_codes(service: str) -> None:
    for method, path, operation in operations(service):
        said, place = answers(service, operation), (method, path)
        expected = {"503", "default"}
        if operation.get("security") != []:
            expected |= {"401", "422", "429"}
        if "security" not in operation:
            expected |= {"404"}
        if "requestBody" in operation:
            expected |= {"413", "422", "429"}
        assert expected <= said.keys(), place
        for status, answer in said.items():
            assert "X-Request-ID" in answer["headers"], (*place, status)
            if status == "default" or int(status) >= 400:
                assert list(answer["content"]) == [MEDIA_TYPE], (*place, status)
                assert status == "default" or re.search(r"`[a-z_]+`", answer["description"])


def test_a_code_that_is_described_is_one_that_is_sent_with_that_status() -> None:
    known = {(str(int(kind.status)), kind.code) for kind in _kinds(Problem)}
    for service in _SERVICES:
        for method, path, operation in operations(service):
            for status, answer in answers(service, operation).items():
                if status == "default" or int(status) < 400:
                    continue
                for code in re.findall(r"`([a-z]+(?:_[a-z]+)*)`(?::|;)", answer["description"]):
                    assert (status, code) in known, (method, path, status, code)


def _kinds(kind: type[Problem]) -> Iterator[type[Problem]]:
    yield kind
    for narrower in kind.__subclasses__():
        yield from _kinds(narrower)


def test_a_problem_of_several_statuses_is_described_under_each() -> None:
    said = problem_answers.one_of(errors.NotFound, errors.Malformed, errors.Conflict)
    assert set(said) == {404, 409, 422}
    examples: Json = said[404]["content"][MEDIA_TYPE]["examples"]
    (example,) = examples.values()
    assert example["value"]["code"] == "not_found"
    assert example["value"].keys() == problem_answers.SCHEMA["properties"].keys()


def test_who_may_ask_is_said_of_every_operation() -> None:
    """Contract, authz: OAuth 2.0 client credentials, by secret or by a signed assertion."""
    for service in _SERVICES:
        whole = document(service)
        assert whole["security"] == [{"bearer": []}]
        for method, path, operation in operations(service):
            for way in {**whole, **operation}["security"]:
                assert way.keys() <= whole["components"]["securitySchemes"].keys(), (method, path)
    token = document("authz")["paths"]["/v1/token"]["post"]
    assert token["security"] == [{"client_secret_basic": []}, {}]
    for said in ("client_secret_basic", "private_key_jwt", "`jti`", "`aud`", "`exp`", "`iss`"):
        assert said in token["description"]
    events = document("audit")["paths"]["/v1/events"]["get"]
    assert events["security"] == [{"bearer": []}, {"service_client": ["audit.read"]}]


@pytest.mark.parametrize("service", _SERVICES)
def test_what_may_be_asked_again_says_when(service: str) -> None:
    """RFC 9110, 10.2.3: seconds, of each 429 and each 503."""
    for method, path, operation in operations(service):
        for status, answer in answers(service, operation).items():
            told = answer["headers"].get("Retry-After", {}).get("schema")
            expected = {"type": "integer"} if status in ("429", "503") else None
            assert told == expected, (method, path, status)


def test_an_answer_that_has_a_version_has_its_tag_and_a_condition_has_its_304() -> None:
    """RFC 9110, 8.8.3 and 13.1.2."""
    case = document("cases")["paths"]["/v1/cases/{case_id}"]["get"]
    assert "ETag" in case["responses"]["200"]["headers"]
    assert "ETag" in case["responses"]["304"]["headers"]
    changed = document("cases")["paths"]["/v1/cases/{case_id}/plan"]["put"]
    assert "ETag" in changed["responses"]["200"]["headers"]
    listed = document("cases")["paths"]["/v1/cases"]["get"]
    assert "ETag" not in listed["responses"]["200"]["headers"]
    for service in _SERVICES:
        for method, path, operation in operations(service):
            heard = {"$ref": "#/components/parameters/IfNoneMatch"} in operation["parameters"]
            assert heard is ("304" in operation["responses"]), (method, path)


def test_purposes_are_one_type_of_a_generated_client_and_the_page_for_integrators_names_all() -> (
    None
):
    """SG-15: the published list of codes."""
    for service in _SERVICES:
        components = document(service)["components"]
        said = components["parameters"]["Purpose"]["schema"]
        assert said == {"$ref": "#/components/schemas/Purpose"}
        assert set(components["schemas"]["Purpose"]["enum"]) == PURPOSES
    page = (_WRITTEN.parent / "docs" / "integrating.md").read_text()
    (line,) = (line for line in page.splitlines() if line.startswith("- `Purpose`"))
    assert set(re.findall(r"`([a-z_]+)`", line)) == PURPOSES


def test_a_list_names_the_states_it_is_filtered_by() -> None:
    """Contract, "Names"."""
    for kind, states in (
        ("requests", "draft submitted accepted declined allocated assigned withdrawn"),
        ("cases", "active closed withdrawn"),
    ):
        said = document("cases")["paths"][f"/v1/{kind}"]["get"]["parameters"]
        (status,) = (one["schema"] for one in said if one.get("name") == "status")
        assert status["enum"] == states.split(), kind


@pytest.mark.parametrize("service", _SERVICES)
def test_no_parameter_can_be_null(service: str) -> None:
    """A URL has no null: whoever has no value leaves the parameter out."""
    for method, path, operation in operations(service):
        for parameter in operation["parameters"]:
            assert "null" not in json.dumps(parameter), (method, path, parameter["name"])


@pytest.mark.parametrize("service", _SERVICES)
def test_every_answer_has_a_shape(service: str) -> None:
    for method, path, operation in operations(service):
        for status, answer in operation["responses"].items():
            for kind, content in answer.get("content", {}).items():
                assert content["schema"], (method, path, status, kind)
                if status.startswith("2") and kind == "application/json":
                    assert "$ref" in content["schema"], (method, path, status)
