"""What the commands of the demonstration answer, and what they refuse in one plain line."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import httpx
import pyotp
import pytest

from services.commands.demo_day import check, touched
from services.commands.demo_login import called, logged_in, numbered
from services.installation import UserError
from services.kernel.effects import Effects

NOW = datetime(2026, 7, 1, 0, 0, 18, 500_000, tzinfo=UTC)
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
ACCOUNT = {"username": "kiri", "password": "a passphrase", "totp_secret": SECRET}


@dataclass
class Authz:
    """Answers as the API does to a person whose codes up to a moment were used."""

    used_until: datetime
    password: str = ACCOUNT["password"]
    throttled: bool = False
    codes: list[str] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = httpx.Response(200, content=request.content).json()
        if self.throttled:
            return httpx.Response(429, json={"title": "Too many requests"})
        if request.url.path.endswith("/login"):
            if body["password"] != self.password:
                return httpx.Response(401, json={"title": "Wrong"})
            return httpx.Response(200, json={"login_token": f"token {len(self.codes)}"})
        assert body["login_token"] == f"token {len(self.codes)}", "a login token serves once"
        self.codes.append(body["code"])
        step = int(self.used_until.timestamp()) // 30
        if body["code"] in {pyotp.TOTP(SECRET).generate_otp(step - back) for back in (0, 1)}:
            return httpx.Response(401, json={"title": "Wrong"})
        return httpx.Response(200, json={"access_token": "let in"})


def log_in(authz: Callable[[httpx.Request], httpx.Response], waited: list[float]) -> str:
    with httpx.Client(transport=httpx.MockTransport(authz), base_url="http://authz/v1") as client:
        return logged_in(client, ACCOUNT, Effects(now=lambda: NOW), waited.append)


def test_a_code_that_is_new_is_not_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    waited: list[float] = []
    authz = Authz(used_until=datetime(2026, 6, 30, tzinfo=UTC))
    assert log_in(authz, waited) == "let in"
    assert authz.codes == [pyotp.TOTP(SECRET).at(NOW)]
    assert waited == []
    assert capsys.readouterr().err == ""


def test_a_code_that_was_used_is_waited_out_and_that_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """SG-4: a code serves once."""
    waited: list[float] = []
    assert log_in(Authz(used_until=NOW), waited) == "let in"
    assert waited == [11.5]
    said = capsys.readouterr()
    assert said.err == "casewarden: that code was used; waiting 12 s for the next one\n"
    assert said.out == ""


def test_it_is_waited_once(capsys: pytest.CaptureFixture[str]) -> None:
    waited: list[float] = []
    authz = Authz(used_until=datetime(2026, 7, 1, 0, 0, 40, tzinfo=UTC))
    with pytest.raises(UserError, match="refused: Wrong"):
        log_in(authz, waited)
    assert len(authz.codes) == 2
    assert len(waited) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    ("authz", "title"),
    [
        (Authz(used_until=NOW, password="changed"), "Wrong"),
        (Authz(used_until=NOW, throttled=True), "Too many requests"),
    ],
)
def test_a_wrong_password_or_a_throttled_account_is_told_without_waiting(
    authz: Authz, title: str
) -> None:
    waited: list[float] = []
    with pytest.raises(UserError, match=f"refused: {title}"):
        log_in(authz, waited)
    assert waited == []


PEOPLE: list[dict[str, Any]] = [
    {"username": "aroha", "role": "administrator"},
    *({"username": f"office.{number}", "role": "school_office"} for number in range(6)),
]


def test_a_number_that_no_account_has_is_told_how_many_there_are() -> None:
    assert numbered(PEOPLE, "school_office", 6)["username"] == "office.5"
    for number in (0, -1, 7):
        with pytest.raises(UserError, match=rf"no school_office number {number}: 1 to 6$"):
            numbered(PEOPLE, "school_office", number)
    with pytest.raises(UserError, match=r"no administrator number 2: 1 alone$"):
        numbered(PEOPLE, "administrator", 2)
    with pytest.raises(UserError, match="nobody of role none; it has administrator, school_office"):
        numbered(PEOPLE, "none", 1)


def test_an_account_is_found_by_its_user_name() -> None:
    assert called(PEOPLE, "office.2")["username"] == "office.2"
    with pytest.raises(UserError, match="no account called nobody"):
        called(PEOPLE, "nobody")


def test_one_is_one() -> None:
    assert touched({"accesses": 4, "people": 1}).endswith("4 times that day by 1 person.")
    assert touched({"accesses": 1, "people": 1}).endswith("1 time that day by 1 person.")
    assert touched({"accesses": 27, "people": 8}).endswith("27 times that day by 8 people.")


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (503, '{"status": "starting"}', r"is not ready \(starting\)"),
        (503, '{"status": "catching_up", "percent": 7}', r"is not ready \(catching_up\)"),
        (200, "[]", "does not answer as Casewarden does"),
        (404, "<html>", "does not answer as Casewarden does"),
        (200, '{"status": "ok"}', None),
    ],
)
def test_a_day_is_driven_only_where_casewarden_serves(
    status: int, body: str, reason: str | None
) -> None:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = Thread(target=server.handle_request)
        thread.start()
        base = f"http://127.0.0.1:{server.server_port}"
        if reason is None:
            check(base)
        else:
            with pytest.raises(UserError, match=reason):
                check(base)
        thread.join()
