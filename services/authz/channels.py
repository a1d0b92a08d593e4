"""How a message reaches a member of staff: by SMTP, or into a spool directory.

A :class:`Channel` takes one letter at a time and says that it has it, or why not. Letters carry
references and one-time secrets, never a learner's data (SG-18). Nothing here knows an account, and
no error says more than its type: what a server answers may quote an address or a letter.
"""

import asyncio
import smtplib
import ssl
from collections.abc import Callable
from datetime import datetime
from email import policy
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from mailbox import Maildir
from pathlib import Path
from typing import Final, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit
from uuid import UUID

from services.kernel.settings import BadSetting, Settings

_TIMEOUT_S: Final = 10.0
#: the ports of submission over implicit TLS, and with STARTTLS (RFC 8314)
_PORTS: Final = {"smtps": 465, "smtp": 587}
_SPOOL_SENDER: Final = "casewarden@localhost"
_SMTP_FORM: Final = (
    "CASEWARDEN_SMTP_URL is not of the form smtps://[user:password@]host[:port],"
    " or smtp:// for STARTTLS"
)


class Undelivered(Exception):  # noqa: N818 - an answer, not a fault
    """The channel did not take the letter. ``final``: it never will."""

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.final = final


class Letter(NamedTuple):
    """What one person is told; ``id`` names the same letter when it is handed over again."""

    id: UUID
    to: str
    subject: str
    text: str
    at: datetime


class Channel(Protocol):
    """A way to a person.

    Guarantees: when :meth:`deliver` returns, the channel has the letter durably. Non-guarantee: a
    letter that raised, or whose sender died, may have been taken.
    """

    name: str

    async def deliver(self, letter: Letter) -> None:
        """Hand ``letter`` over; raise :class:`Undelivered` with a reason that quotes nothing."""


class Spool:
    """A Maildir that a mail system (or a test) takes letters from; files of mode 0600."""

    name = "spool"

    def __init__(self, directory: Path, sender: str = _SPOOL_SENDER) -> None:
        self._directory = directory
        self._sender = sender

    async def deliver(self, letter: Letter) -> None:
        """Put ``letter`` into ``new``, flushed to disk."""
        message = _message(letter, self._sender)
        await _in_thread(lambda: self._add(message))

    def _add(self, message: EmailMessage) -> None:
        # Directories first: while a file has not its own mode yet, theirs keeps others out.
        for directory in (self._directory, *(self._directory / d for d in ("tmp", "new", "cur"))):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = Maildir(self._directory, create=False).add(message)
        (self._directory / "new" / key).chmod(0o600)


class Smtp:
    """Submission to a mail server, never in the clear: the server's certificate is checked."""

    name = "smtp"

    def __init__(self, url: str, sender: str) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port or _PORTS.get(parts.scheme)
        except ValueError:
            raise BadSetting(_SMTP_FORM) from None
        beyond = parts.path.strip("/") or parts.query or parts.fragment
        if parts.scheme not in _PORTS or port is None or not parts.hostname or beyond:
            raise BadSetting(_SMTP_FORM)
        self._host, self._port = parts.hostname, port
        self._implicit = parts.scheme == "smtps"
        self._login = (unquote(parts.username or ""), unquote(parts.password or ""))
        self._sender = sender

    async def deliver(self, letter: Letter) -> None:
        """Submit ``letter``; each step of the conversation has ten seconds."""
        message = _message(letter, self._sender)
        await _in_thread(lambda: self._submit(message, letter.to))

    def _submit(self, message: EmailMessage, to: str) -> None:
        context = ssl.create_default_context()
        with self._connected(context) as server:
            if not self._implicit:
                server.starttls(context=context)
            if self._login[0]:
                server.login(*self._login)
            server.send_message(message, self._sender, [to])

    def _connected(self, context: ssl.SSLContext) -> smtplib.SMTP:
        # Greeting as the sender's domain: asking for this machine's name may take a resolver long.
        server = (self._host, self._port, self._sender.rpartition("@")[2])
        if self._implicit:
            return smtplib.SMTP_SSL(*server, timeout=_TIMEOUT_S, context=context)
        return smtplib.SMTP(*server, timeout=_TIMEOUT_S)


def channel_of(settings: Settings, data: Path) -> Channel:
    """Return the channel of an installation; raise :class:`BadSetting` for one that cannot be."""
    if settings.smtp_url:
        _addressed(settings.mail_sender, BadSetting("CASEWARDEN_MAIL_SENDER is not an address"))
        return Smtp(settings.smtp_url, settings.mail_sender)
    directory = Path(settings.spool) if settings.spool else data / "spool"
    return Spool(directory, settings.mail_sender or _SPOOL_SENDER)


def _message(letter: Letter, sender: str) -> EmailMessage:
    message = EmailMessage(policy.default)
    message["From"] = _addressed(sender, Undelivered("sender_is_no_address", final=True))
    message["To"] = _addressed(letter.to, Undelivered("no_address", final=True))
    message["Subject"] = letter.subject
    message["Date"] = format_datetime(letter.at)
    message["Message-ID"] = f"<{letter.id}@{sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(letter.text)
    return message


def _addressed(address: str, problem: Exception) -> Address:
    """Return one address, never a list of them; raise ``problem`` when it is none."""
    try:
        return Address(addr_spec=address)
    except (ValueError, IndexError, MessageError):
        raise problem from None


async def _in_thread(work: Callable[[], object]) -> None:
    try:
        await asyncio.to_thread(work)
    except (OSError, smtplib.SMTPException, ValueError) as error:
        raise Undelivered(type(error).__name__) from None
