"""The ``casewarden demo`` commands: all that there is for a demonstration and for nothing else.

Declared as in :mod:`services.cli`: each command's module is imported when it runs.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import click

from services.kernel.settings import Settings

if TYPE_CHECKING:
    from click import Context, Parameter


class _Scale(click.FloatRange):
    """A range without NaN, which is in none and outside of none."""

    def convert(self, value: float, param: Parameter | None, ctx: Context | None) -> float:
        found = super().convert(value, param, ctx)
        if math.isnan(found):
            self.fail(f"{value} is no number.", param, ctx)
        return found


_SCALE: Final = _Scale(0.02, 10)


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print the accounts as JSON.")
@click.pass_context
def demo(context: click.Context, *, as_json: bool) -> None:
    """Show the demonstration's accounts and service clients."""
    if context.invoked_subcommand is None:
        from services.commands import demo as command

        command.run(context.obj, as_json=as_json)


@demo.command(hidden=True)
@click.pass_obj
def load(settings: Settings) -> None:
    """Load the demonstration into an empty log, or finish loading it."""
    from services.commands import demo_load as command

    command.run(settings)


@demo.command()
@click.option("--role", default="asp_case_manager", show_default=True, help="a role's name")
@click.option("--number", default=1, show_default=True, help="which of its accounts, from 1")
@click.option("--username", help="instead of a role: this account")
@click.pass_obj
def login(settings: Settings, role: str, number: int, username: str | None) -> None:
    """Log in to the demonstration that is running, with both factors; print an access token."""
    from services.commands import demo_login as command

    click.echo(command.run(settings, role, number, username))


@demo.command()
@click.option("--seed", default=1, show_default=True, help="Another seed is another day.")
@click.option(
    "--scale",
    default=1.0,
    show_default=True,
    type=_SCALE,
    help="How much is done, 1 being a few thousand requests.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.pass_obj
def day(settings: Settings, seed: int, scale: float, *, as_json: bool) -> None:
    """Drive a school day through the HTTP API of the demonstration that is running."""
    from services.commands import demo_day as command

    command.run(settings, seed=seed, scale=scale, as_json=as_json)
