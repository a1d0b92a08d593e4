"""``casewarden dsn``: the address of a database under one of its roles, for psql."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from services.installation import embedded, installation_of
from services.kernel.database import role_name
from services.kernel.events import Service
from services.kernel.server_roles import role_password

if TYPE_CHECKING:
    from services.kernel.settings import Settings


def run(settings: Settings, role: str, *, keys: bool) -> None:
    """Print the address; it holds a password, so mind where it goes."""
    postgres = embedded(settings)
    installation = installation_of(settings, postgres)
    server = installation.server
    url = server.keys_url if keys else server.url
    if role != "owner":
        service = Service(role)
        password = role_password(installation.secret("roles"), service)
        url = server.as_role(url, role_name(service), password)
    click.echo(url)
    if postgres is not None and not postgres.alive():
        click.echo("casewarden: the embedded database is not running now", err=True)
