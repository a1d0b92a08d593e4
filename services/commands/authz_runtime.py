"""Authz for the length of one command: what ``bootstrap`` and ``clients`` have in common.

It appends and folds, beside running services or without them; it serves nothing.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from services.commands import preconditions
from services.commands.serving import as_user_errors
from services.kernel.events import Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.authz.app import Authz
    from services.kernel.runtime import Installation
    from services.kernel.settings import Settings


@contextlib.asynccontextmanager
async def authz_of(settings: Settings, installation: Installation) -> AsyncIterator[Authz]:
    """Have authz run over this installation; raise :class:`UserError` where it cannot."""
    from services.authz import app

    await preconditions.check(installation, (Service.AUTHZ,))
    with as_user_errors():
        authz = await app.build(installation, settings)
        try:
            authz.runtime.start()
            yield authz
        finally:
            await authz.runtime.stop()
