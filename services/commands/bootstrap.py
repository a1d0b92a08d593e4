"""``casewarden bootstrap``: the first organisation and its administrator, in an empty log."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click
from pydantic import ValidationError

from services.authz.api_me import Email
from services.authz.api_organisations import TimeZone
from services.authz.events import Profile
from services.authz.founding import AlreadyFounded, Founder, found
from services.commands.authz_runtime import authz_of
from services.installation import UserError, embedded, running
from services.kernel.texts import Body, Line

if TYPE_CHECKING:
    from services.kernel.runtime import Installation
    from services.kernel.settings import Settings


class Given(Body):
    """What the command is told; as strict as the API is about the same fields."""

    organisation: Line
    time_zone: TimeZone
    username: Line
    given_name: Line
    family_name: Line
    email: Email

    def founder(self) -> Founder:
        """Return whom this describes."""
        profile = Profile(
            given_name=self.given_name, family_name=self.family_name, email=self.email
        )
        return Founder(self.organisation, self.time_zone, self.username, profile)


def run(settings: Settings, given: Mapping[str, str]) -> None:
    """Found; deliver the invitation; say where to. Refused when there is anybody already."""
    try:
        founder = Given.model_validate(given).founder()
    except ValidationError as error:
        wrong = error.errors()[0]
        raise UserError(f"--{str(wrong['loc'][0]).replace('_', '-')}: {wrong['msg']}") from None
    with running(settings, embedded(settings)) as installation:
        channel, delivered = asyncio.run(_founded(settings, installation, founder))
    click.echo(f"{founder.username} administrates {founder.organisation}")
    if delivered:
        click.echo(f"the invitation is delivered by {channel}")
    else:
        click.echo(f"the invitation waits: {channel} did not take it; serving delivers it")


async def _founded(
    settings: Settings, installation: Installation, founder: Founder
) -> tuple[str, bool]:
    """Found; return the name of the channel, and whether it took the invitation."""
    async with authz_of(settings, installation) as authz:
        try:
            await found(authz.runtime, founder)
        except AlreadyFounded:
            raise UserError("there is somebody already: administrators register others") from None
        await authz.courier.sweep()
        waits = await authz.runtime.pool.fetchval("select exists (select from authz.delivery)")
    return authz.courier.channel, not waits
