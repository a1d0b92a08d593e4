"""What the application of every service has in common, whatever its routes are."""

from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry import _logs, metrics, trace

from services.kernel.application import application
from services.kernel.boundary import Boundary
from services.kernel.documents import Ways
from services.kernel.events import Service
from services.kernel.texts import Body, Line

SECRET = "the password is swordfish"


class Note(Body):
    text: Line


class Exporter:
    """A configured provider of anything: it notes that it was asked for a tool."""

    def __init__(self, asked: list[str], kind: str) -> None:
        self._asked = asked
        self._kind = kind

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - stands in for any provider
        self._asked.append(f"{self._kind}.{name}")
        raise AttributeError(name)


@pytest.fixture
def asked_of_exporters(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what the process's OpenTelemetry providers, as if some were configured, are asked."""
    asked: list[str] = []
    for module, name in (
        (trace, "get_tracer_provider"),
        (metrics, "get_meter_provider"),
        (_logs, "get_logger_provider"),
    ):
        exporter = Exporter(asked, name)
        monkeypatch.setattr(module, name, lambda exporter=exporter: exporter)
    return asked


def told(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(Boundary(app, Service.CASES)), base_url="http://test"
    )


async def test_no_exporter_of_the_process_learns_of_a_request(
    asked_of_exporters: list[str],
) -> None:
    """SG-18: neither bodies that do not parse nor exceptions reach what a deployment configured."""
    app = application(Service.CASES, Ways())

    @app.post("/notes")
    async def note(body: Note) -> None:
        raise RuntimeError(body.text)

    async with told(app) as client:
        unread = await client.post("/notes", json={"text": 7, "password": SECRET})
        failed = await client.post("/notes", json={"text": SECRET})
    assert (unread.status_code, failed.status_code) == (422, 500)
    assert asked_of_exporters == []
