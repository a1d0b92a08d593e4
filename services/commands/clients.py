"""``casewarden clients``: the systems that ask in their own name, added, listed and ended.

Beside running services or without them; what is recorded holds in every process at once.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click
from pydantic import TypeAdapter, ValidationError

from services.authz.client_entries import Entry
from services.authz.client_public_keys import LONGEST, UnfitKey, algorithm_of, registrable
from services.authz.client_register import NotDone, Wanted, end, register, registered
from services.commands.authz_runtime import authz_of
from services.installation import UserError, embedded, running
from services.kernel.sealing import SealBroken
from services.kernel.texts import Line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from uuid import UUID

    from services.kernel.keystore import KeyStore
    from services.kernel.runtime import Installation, Runtime
    from services.kernel.settings import Settings

T = TypeVar("T")


def add(
    settings: Settings,
    name: str,
    scopes: Sequence[str],
    organisation: UUID | None,
    public_key: str | None,
) -> None:
    """Register a client; print its id and, this once, its secret."""
    key = None if public_key is None else _key_in(Path(public_key))
    wanted = Wanted(_line("NAME", name), scopes, organisation, key)
    made = _on(settings, lambda runtime: register(runtime, wanted))
    click.echo(f"client_id      {made.client_id}")
    if made.secret is not None:
        click.echo(f"client_secret  {made.secret}")
        click.echo("The secret is shown this once and kept nowhere: nobody can show it again.")
    elif key is not None:
        click.echo(f"It signs its assertions with the key of {public_key}: {algorithm_of(key)}.")


def list_(settings: Settings) -> None:
    """Print every client there is or was."""
    heads = ("client_id", "name", "organisation", "scopes", "by", "since", "ended")
    lines = [heads, *_on(settings, _lines)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def end_(settings: Settings, client_id: str, reason: str) -> None:
    """End a client, at once."""
    why = _line("--reason", reason)
    _on(settings, lambda runtime: end(runtime, client_id, why))
    click.echo(f"{client_id} has ended: no token of it is valid any more, and it is given none")


async def _lines(runtime: Runtime) -> list[tuple[str, ...]]:
    return [_told(entry, runtime.keys) for entry in await registered(runtime)]


def _told(entry: Entry, keys: KeyStore) -> tuple[str, ...]:
    ended = "-"
    if entry.ended_at is not None:
        ended = f"{entry.ended_at:%Y-%m-%dT%H:%MZ} {_reason(entry, keys)}"
    return (
        entry.client_id,
        entry.name,
        str(entry.organisation_id or "-"),
        ", ".join(entry.scopes),
        ", ".join(entry.ways),
        f"{entry.since:%Y-%m-%dT%H:%MZ}",
        ended,
    )


def _reason(entry: Entry, keys: KeyStore) -> str:
    if entry.reason is None:
        return ""
    try:
        return keys.open_sealed(entry.reason)
    except SealBroken:
        return ""


def _on(settings: Settings, work: Callable[[Runtime], Awaitable[T]]) -> T:
    """Return what ``work`` does under authz's role; what it will not do is one plain line."""
    with running(settings, embedded(settings)) as installation:
        return asyncio.run(_done(settings, installation, work))


async def _done(
    settings: Settings, installation: Installation, work: Callable[[Runtime], Awaitable[T]]
) -> T:
    async with authz_of(settings, installation) as authz:
        try:
            return await work(authz.runtime)
        except NotDone as not_done:
            raise UserError(str(not_done)) from None


def _line(of: str, text: str) -> str:
    try:
        line: str = TypeAdapter(Line).validate_python(text)
    except ValidationError as error:
        raise UserError(f"{of}: {error.errors()[0]['msg']}") from None
    return line


def _key_in(path: Path) -> str:
    """Return the public key in a file; raise :class:`UserError` for one that is not taken."""
    try:
        with path.open("rb") as file:
            text = file.read(LONGEST + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "no such name"
        raise UserError(f"the public key {path} cannot be read: {why}") from None
    if len(text) > LONGEST:
        raise UserError(f"the public key {path} is not taken: it is too long for one")
    try:
        return registrable(text)
    except UnfitKey as unfit:
        raise UserError(f"the public key {path} is not taken: {unfit}") from None
