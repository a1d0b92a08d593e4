"""``casewarden openapi``: each service's OpenAPI document, as its routes and models give it.

Needs no database: the services are built offline, over a directory that is thrown away. The same
code gives the same bytes.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from services.app import build_service
from services.installation import UserError
from services.kernel.database import Server
from services.kernel.effects import Effects
from services.kernel.events import Service
from services.kernel.runtime import Installation
from services.kernel.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

_NOWHERE = "postgresql://nobody@localhost:1/offline"


def run(folder: str, *, check: bool) -> None:
    """Write ``<folder>/<service>.json``, or with ``check`` fail at the first that differs."""
    for service, text in asyncio.run(documents()).items():
        path = Path(folder) / f"{service}.json"
        try:
            drifted = check and _there(path) != text.encode()
            if not check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
        except OSError as error:
            done = "read" if check else "written"
            raise UserError(f"{path} cannot be {done}: {error.strerror}") from None
        if drifted:
            raise UserError(f"{path} has drifted: run casewarden openapi")
        if not check:
            click.echo(str(path))


def _there(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


async def documents() -> Mapping[Service, str]:
    """Return the document of each service."""
    with tempfile.TemporaryDirectory() as data:
        installation = Installation(Server.of(_NOWHERE), Path(data), Effects(), offline=True)
        return {service: await _document(installation, service) for service in Service}


async def _document(installation: Installation, service: Service) -> str:
    built = await build_service(service, installation, Settings())
    try:
        document: dict[str, Any] = built.app.openapi()
    finally:
        await built.runtime.stop()
    document["servers"] = [{"url": f"/{service}"}]
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
