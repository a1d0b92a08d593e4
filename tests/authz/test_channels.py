"""Channels: a letter reaches a spool or a mail server whole, or it is said why not."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_string, policy
from ipaddress import ip_address
from pathlib import Path
from uuid import UUID

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from services.authz.channels import Channel, Letter, Smtp, Spool, Undelivered, channel_of
from services.kernel.settings import BadSetting, Settings
from tests.authz.spooled import letters

AT = datetime(2026, 11, 22, 10, tzinfo=UTC)
LETTER = Letter(UUID(int=7), "mere@school.example", "Your invitation", "Invitation: s3cr3t\n", AT)
SENDER = "casewarden@ministry.example"


@dataclass
class Server:
    """What a mail server was told."""

    port: int = 0
    said: list[str] = field(default_factory=list)
    mail: list[str] = field(default_factory=list)


async def _converse(
    server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Speak as much of RFC 5321 as a submission takes."""
    writer.write(b"220 here\r\n")
    while line := (await reader.readline()).decode().strip():
        verb, space, rest = line.partition(" ")
        server.said.append(f"{verb.upper()}{space}{rest}")
        match verb.upper():
            case "DATA":
                writer.write(b"354 go on\r\n")
                text = (await reader.readuntil(b"\r\n.\r\n")).decode()
                server.mail.append(text.removesuffix("\r\n.\r\n"))
                writer.write(b"250 taken\r\n")
            case "EHLO":
                writer.write(b"250-here\r\n250 AUTH PLAIN\r\n")
            case "AUTH":
                writer.write(b"235 welcome\r\n")
            case "RCPT" if "refused" in line:
                writer.write(b"550 <refused@school.example> unknown here\r\n")
            case "QUIT":
                writer.write(b"221 bye\r\n")
                break
            case _:
                writer.write(b"250 well\r\n")
    writer.close()


@asynccontextmanager
async def _listening(context: ssl.SSLContext | None) -> AsyncIterator[Server]:
    server = Server()
    listener = await asyncio.start_server(
        lambda r, w: _converse(server, r, w), "127.0.0.1", 0, ssl=context
    )
    server.port = listener.sockets[0].getsockname()[1]
    yield server
    listener.close()
    await listener.wait_closed()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a certificate of 127.0.0.1, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


def _context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


async def _reason(channel: Channel, letter: Letter = LETTER) -> tuple[str, bool]:
    with pytest.raises(Undelivered) as undelivered:
        await channel.deliver(letter)
    return undelivered.value.reason, undelivered.value.final


async def test_a_spooled_letter_is_whole_and_its_owners_alone(tmp_path: Path) -> None:
    """SG-18: the directory that is not there is made, for nobody else to look into."""
    await Spool(tmp_path / "deep" / "spool").deliver(LETTER)

    (letter,) = letters(tmp_path / "deep")
    assert (letter["to"], letter.get_content()) == (LETTER.to, LETTER.text)
    assert letter["message-id"] == f"<{LETTER.id}@localhost>"
    assert letter["date"].datetime == AT
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "deep" / "spool").rglob("*")}
    assert modes == {0o700, 0o600}
    assert (tmp_path / "deep" / "spool").stat().st_mode & 0o777 == 0o700


async def test_a_spool_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    reason, final = await _reason(Spool(tmp_path / "file" / "spool"))

    assert (reason, final) == ("NotADirectoryError", False)


async def test_a_letter_is_submitted_over_tls_to_one_address(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SG-5: with the user name and password of the address, whatever is in them."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with _listening(_context(certificate)) as server:
        smtp = Smtp(f"smtps://me%40host:p%2Fw@127.0.0.1:{server.port}", SENDER)
        await smtp.deliver(LETTER)

    assert "EHLO ministry.example" in server.said
    assert [s for s in server.said if s.startswith("AUTH PLAIN")]
    assert [s for s in server.said if s.startswith("RCPT")] == [f"RCPT TO:<{LETTER.to}>"]
    message = message_from_string(server.mail[0], policy=policy.default)
    assert (message["from"], message["subject"]) == (SENDER, LETTER.subject)
    assert "Invitation: s3cr3t" in server.mail[0]


async def test_nothing_is_sent_to_a_server_whose_certificate_nobody_vouches_for(
    certificate: Path,
) -> None:
    """SG-5."""
    async with _listening(_context(certificate)) as server:
        reason, final = await _reason(Smtp(f"smtps://u:p@127.0.0.1:{server.port}", SENDER))

    assert (reason, final) == ("SSLCertVerificationError", False)
    assert server.said == []


async def test_nothing_is_sent_in_the_clear() -> None:
    """SG-5: a server without STARTTLS gets neither password nor letter."""
    async with _listening(None) as server:
        reason, _ = await _reason(Smtp(f"smtp://u:p@127.0.0.1:{server.port}", SENDER))

    assert reason == "SMTPNotSupportedError"
    assert [s for s in server.said if not s.startswith(("EHLO", "QUIT"))] == []


async def test_a_refusal_is_known_by_its_type_alone(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SG-18: what a server answers quotes the address."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    letter = LETTER._replace(to="refused@school.example")
    async with _listening(_context(certificate)) as server:
        smtp = Smtp(f"smtps://127.0.0.1:{server.port}", SENDER)
        with pytest.raises(Undelivered) as undelivered:
            await smtp.deliver(letter)

    assert str(undelivered.value) == "SMTPRecipientsRefused"
    assert undelivered.value.__suppress_context__
    assert server.mail == []


@pytest.mark.parametrize("to", ["", "nobody", "a@b.example,c@d.example", "a@b.example\nBcc: c@d.e"])
async def test_what_is_not_one_address_gets_nothing(tmp_path: Path, to: str) -> None:
    assert await _reason(Spool(tmp_path), LETTER._replace(to=to)) == ("no_address", True)
    assert letters(tmp_path.parent) == []


def test_settings_choose_the_channel(tmp_path: Path) -> None:
    elsewhere = Settings(spool=str(tmp_path / "elsewhere"))
    smtp = Settings(smtp_url="smtps://mail.example", mail_sender=SENDER)

    assert [channel_of(s, tmp_path).name for s in (Settings(), elsewhere, smtp)] == [
        *("spool", "spool", "smtp")
    ]


@pytest.mark.parametrize(
    ("url", "sender", "named"),
    [
        ("mail.example", SENDER, "SMTP_URL"),
        ("http://mail.example", SENDER, "SMTP_URL"),
        ("smtps://u:p4ss@mail.example:port", SENDER, "SMTP_URL"),
        ("smtps://u:p4ss@[::1", SENDER, "SMTP_URL"),
        ("smtps://u:p4ss@mail.example/x?tls=no", SENDER, "SMTP_URL"),
        ("smtps://mail.example", "", "MAIL_SENDER"),
    ],
)
def test_a_setting_that_cannot_be_is_named_and_not_repeated(
    tmp_path: Path, url: str, sender: str, named: str
) -> None:
    with pytest.raises(BadSetting, match=named) as refused:
        channel_of(Settings(smtp_url=url, mail_sender=sender), tmp_path)

    assert "p4ss" not in str(refused.value)
