"""The documents in ``openapi/`` are what the services say of themselves today."""

import json
from pathlib import Path
from typing import Any

import pytest

from services.commands import openapi

_WRITTEN = Path(__file__).parent.parent / "openapi"


@pytest.mark.parametrize("service", ["authz", "cases", "audit"])
async def test_the_written_document_has_not_drifted(service: str) -> None:
    written = (_WRITTEN / f"{service}.json").read_text()
    now = {str(name): text for name, text in (await openapi.documents()).items()}
    assert now[service] == written, "run `make openapi`"


@pytest.mark.parametrize("service", ["authz", "cases", "audit"])
def test_every_route_says_how_it_refuses(service: str) -> None:
    document: dict[str, Any] = json.loads((_WRITTEN / f"{service}.json").read_text())
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            answers = operation["responses"]
            assert {"401", "404", "422", "429", "503"} <= answers.keys(), (method, path)
            for status, answer in answers.items():
                if int(status) >= 400:
                    assert "application/problem+json" in answer["content"], (method, path, status)


def test_a_list_names_the_states_it_is_filtered_by() -> None:
    """Contract, "Names"."""
    document: dict[str, Any] = json.loads((_WRITTEN / "cases.json").read_text())
    for kind, states in (
        ("requests", "draft submitted accepted declined allocated assigned withdrawn"),
        ("cases", "active closed withdrawn"),
    ):
        said = document["paths"][f"/v1/{kind}"]["get"]["parameters"]
        (status,) = (one["schema"] for one in said if one.get("name") == "status")
        assert status["anyOf"][0]["enum"] == states.split(), kind


@pytest.mark.parametrize("service", ["cases", "audit"])
def test_every_answer_in_json_has_a_shape(service: str) -> None:
    document: dict[str, Any] = json.loads((_WRITTEN / f"{service}.json").read_text())
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for status, answer in operation["responses"].items():
                if status.startswith("2") and "application/json" in answer.get("content", {}):
                    shape = answer["content"]["application/json"]["schema"]
                    assert shape or path.endswith("/content"), (method, path)
