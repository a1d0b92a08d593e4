"""Given: the letters in an installation's spool, as a mail system would take them."""

import re
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from uuid import UUID

import pytest

from services.authz import app
from tests.authz.staffed import Region


@pytest.fixture(autouse=True)
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be delivered but when a test says so."""
    monkeypatch.setattr(app, "_DELIVERY_S", 3600.0)


def letters(data: Path) -> list[EmailMessage]:
    """Return what is in the spool below ``data``, oldest first."""
    files = sorted((data / "spool" / "new").glob("*"), key=lambda path: path.stat().st_mtime_ns)
    return [message_from_bytes(path.read_bytes(), policy=policy.default) for path in files]


async def delivered(region: Region) -> list[EmailMessage]:
    """Deliver what is due, and return every letter there is."""
    await region.authz.courier.sweep()
    return letters(region.installation.data)


def token_of(letter: EmailMessage) -> str:
    """Return the invitation in a letter."""
    found = re.search(r"^Invitation: (\S+)$", letter.get_content(), re.MULTILINE)
    assert found, letter["subject"]
    return found[1]


def reference_of(letter: EmailMessage) -> UUID:
    """Return the id that letter and event share."""
    return UUID(str(letter["message-id"]).strip("<>").partition("@")[0])


async def invited(region: Region) -> str:
    """Deliver what is due, and return the newest invitation."""
    return token_of((await delivered(region))[-1])
