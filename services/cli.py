"""The ``casewarden`` command: which commands there are.

Each command is one module of :mod:`services.commands`, imported when it runs, so that ``--help``
and warm starts stay quick. :mod:`services.cli_demo` declares those of the demonstration; how a
command exits, and what is said of a failure, is in :mod:`services.cli_exit`.
"""

from __future__ import annotations

import sys
from typing import Final
from uuid import UUID

import click

from services import cli_exit
from services.cli_demo import demo
from services.kernel.settings import Settings

_SERVICES: Final = ("authz", "cases", "audit", "all")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="casewarden")
@click.pass_context
def casewarden(context: click.Context) -> None:
    """Guard case records about children: who may see what, and proof of who saw it."""
    context.obj = Settings.from_environment()


@casewarden.command()
@click.pass_obj
def up(settings: Settings) -> None:
    """Start everything: database, demonstration (the first time), all three services."""
    from services.commands import up as command

    command.run(settings)


@casewarden.command()
@click.argument("service", type=click.Choice(_SERVICES), default="all")
@click.pass_obj
def serve(settings: Settings, service: str) -> None:
    """Serve one service, or all, over a database that is migrated already."""
    from services.commands import serve as command

    command.run(settings, service)


@casewarden.command()
@click.option(
    "--take-roles",
    is_flag=True,
    help="Take the server's roles from another installation, which cannot be served any more.",
)
@click.pass_obj
def migrate(settings: Settings, *, take_roles: bool) -> None:
    """Bring the databases to today's schema; safe to repeat."""
    from services.commands import migrate as command

    command.run(settings, take_roles=take_roles)


@casewarden.command()
@click.option("--organisation", required=True, help="Name of the ministry's first team.")
@click.option("--time-zone", required=True, help="Where it is, as Pacific/Auckland.")
@click.option("--username", required=True, help="What the administrator logs in as.")
@click.option("--given-name", required=True)
@click.option("--family-name", required=True)
@click.option("--email", required=True, help="Where the invitation goes.")
@click.pass_obj
def bootstrap(settings: Settings, /, **given: str) -> None:
    """Register the first administrator of an empty installation, and invite them."""
    from services.commands import bootstrap as command

    command.run(settings, given)


casewarden.add_command(demo)


@casewarden.command()
@click.pass_obj
def verify(settings: Settings) -> None:
    """Check the whole log; name the first position that is wrong, and why."""
    from services.commands import verify as command

    sys.exit(command.run(settings))


@casewarden.command("set-aside")
@click.argument("position", type=click.IntRange(min=0))
@click.option(
    "--reason",
    required=True,
    help="Reference of the incident: letters, digits, dot, dash, slash. Never free text.",
)
@click.option("--yes", is_flag=True, help="Do not ask: it cannot be taken back.")
@click.pass_obj
def set_aside(settings: Settings, position: int, reason: str, *, yes: bool) -> None:
    """Have every fold pass over the event at POSITION, on the record; it stays in the log."""
    from services.commands import set_aside as command

    command.run(settings, position, reason, yes=yes)


@casewarden.command()
@click.argument("projections", nargs=-1)
@click.pass_obj
def rebuild(settings: Settings, projections: tuple[str, ...]) -> None:
    """Empty read models and fold the log again: those named, or all of them."""
    from services.commands import rebuild as command

    command.run(settings, projections)


@casewarden.command()
@click.option("--check", is_flag=True, help="Write nothing; fail when a document has drifted.")
@click.option("--to", "folder", default="openapi", type=click.Path(), show_default=True)
def openapi(folder: str, *, check: bool) -> None:
    """Write the OpenAPI document of each service."""
    from services.commands import openapi as command

    command.run(folder, check=check)


@casewarden.command()
@click.option("--role", help="Only what this role may do.")
def policy(role: str | None) -> None:
    """Print the role matrix: who may do what, under which facts, by which clause."""
    from services.commands import policy as command

    command.run(role)


@casewarden.command()
@click.option("--role", type=click.Choice(("cases", "authz", "audit", "owner")), required=True)
@click.option("--keys", is_flag=True, help="The key store instead of the log.")
@click.pass_obj
def dsn(settings: Settings, role: str, *, keys: bool) -> None:
    """Print the address by which psql reaches the database as one of its roles."""
    from services.commands import dsn as command

    command.run(settings, role, keys=keys)


@casewarden.group()
def clients() -> None:
    """Look after the systems that ask in their own name."""


@clients.command()
@click.argument("name")
@click.option(
    "--scope", "scopes", multiple=True, required=True, help="What it may, as audit.read; repeat."
)
@click.option(
    "--organisation",
    type=click.UUID,
    help="Id of whose it is: all it sees is theirs. Left out, or the Ministry's: everything.",
)
@click.option(
    "--public-key",
    metavar="FILE.pem",
    help="It signs with the other half (Ed25519, P-256, RSA). Left out: it is given a secret.",
)
@click.pass_obj
def add(
    settings: Settings,
    name: str,
    scopes: tuple[str, ...],
    organisation: UUID | None,
    public_key: str | None,
) -> None:
    """Register a service client called NAME; print its id, and its secret this once."""
    from services.commands import clients as command

    command.add(settings, name, scopes, organisation, public_key)


@clients.command("list")
@click.pass_obj
def list_(settings: Settings) -> None:
    """List every service client there is or was."""
    from services.commands import clients as command

    command.list_(settings)


@clients.command("end")
@click.argument("client_id")
@click.option("--reason", required=True, help="Why; sealed in the log.")
@click.pass_obj
def end(settings: Settings, client_id: str, reason: str) -> None:
    """End a service client: no token of it is valid any more, at once and for good."""
    from services.commands import clients as command

    command.end_(settings, client_id, reason)


@casewarden.group()
def keys() -> None:
    """Look after the keys that seal personal data."""


@keys.command()
@click.pass_obj
def rotate(settings: Settings) -> None:
    """Wrap every data key under this epoch's key, and destroy the keys of former epochs."""
    from services.commands import keys_rotate as command

    command.run(settings)


def main() -> None:
    """Run the command, and exit as :mod:`services.cli_exit` says."""
    cli_exit.run(casewarden)


if __name__ == "__main__":
    main()
