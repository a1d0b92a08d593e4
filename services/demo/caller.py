"""One member of staff at the HTTP API: logs in with both factors, then asks and edits.

Nothing here knows more than a browser would: an account, the address of the API, and what it
answers. Each organisation calls from a loopback address of its own, a real one of the socket, so
that addresses mean in the log what they mean outside.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from http import HTTPStatus
from time import time
from typing import TYPE_CHECKING, Any, Final

import httpx
import pyotp

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.demo.records import Assignment, Person

_STEP_S: Final = 30
_TIMEOUT_S: Final = 20.0
_TRIES: Final = 3
_SAFARI: Final = "AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5"
_CHROME: Final = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36"
_AGENTS: Final = (
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_CHROME} Edg/141.0.0.0",
    f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {_SAFARI} Safari/605.1.15",
    f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {_CHROME}",
    f"Mozilla/5.0 (iPad; CPU OS 18_5 like Mac OS X) {_SAFARI} Mobile/15E148 Safari/604.1",
)


@dataclass(slots=True)
class Tally:
    """What was asked and how it was answered; ``asked`` is called once a request."""

    asked: Callable[[], None]
    statuses: Counter[int] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    unexpected: Counter[str] = field(default_factory=Counter)

    def count(self, method: str, path: str, response: httpx.Response) -> None:
        """Count one answer; a fault of the server, or of what was sent, is unexpected."""
        self.asked()
        status = response.status_code
        self.statuses[status] += 1
        self.kinds["read" if method == "GET" else "edit"] += 1
        faulty = status >= HTTPStatus.INTERNAL_SERVER_ERROR
        if faulty or status == HTTPStatus.UNPROCESSABLE_ENTITY:
            self.unexpected[f"{status} {method} {_template(path)}"] += 1

    @property
    def total(self) -> int:
        """How many requests were answered."""
        return self.statuses.total()


def _template(path: str) -> str:
    """Return ``path`` with its ids left out."""
    return "/".join("{id}" if len(part) == 36 else part for part in path.split("/"))  # noqa: PLR2004


class LoginFailed(Exception):  # noqa: N818 - an answer, not a fault
    """Nobody is let in: wrong credentials, or too many attempts."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@dataclass(frozen=True, slots=True)
class Account:
    """A person, the assignment they work in today, and what lets them in."""

    person: Person
    held: Assignment
    password: str
    totp_secret: str


class Caller:
    """A person at the API. Close it when the day is over."""

    def __init__(self, base: str, account: Account, address: str, tally: Tally) -> None:
        self.account = account
        self._tally = tally
        agent = _AGENTS[account.person.person_id.int % len(_AGENTS)]
        self._client = httpx.AsyncClient(
            base_url=base,
            transport=httpx.AsyncHTTPTransport(local_address=address or None, retries=1),
            headers={"user-agent": agent},
            timeout=_TIMEOUT_S,
            trust_env=False,
        )
        self._refresh_token = ""

    @property
    def organisation(self) -> str:
        """The id of the organisation they work at today."""
        return str(self.account.held.organisation_id)

    async def close(self) -> None:
        """Hang up."""
        await self._client.aclose()

    async def attempt(self, password: str) -> httpx.Response:
        """Offer a password, the right one or another."""
        body = {"username": self.account.person.username, "password": password}
        return await self._send("POST", "/authz/v1/login", json=body)

    async def login(self) -> None:
        """Log in with both factors; raise :class:`LoginFailed`."""
        for _ in range(_TRIES):
            begun = await self.attempt(self.account.password)
            if begun.status_code != HTTPStatus.OK:
                raise LoginFailed(begun.status_code)
            step = int(time()) // _STEP_S
            body = {
                "login_token": begun.json()["login_token"],
                "method": "totp",
                "code": pyotp.TOTP(self.account.totp_secret).at(step * _STEP_S),
            }
            verified = await self._send("POST", "/authz/v1/login/verify", json=body)
            if verified.status_code == HTTPStatus.OK:
                self._accept(verified)
                return
            # a code serves once: somebody used this step's already, so wait for the next
            await asyncio.sleep((step + 1) * _STEP_S - time() + 0.1)
        raise LoginFailed(HTTPStatus.UNAUTHORIZED)

    def _accept(self, response: httpx.Response) -> None:
        tokens = response.json()
        self._refresh_token = tokens["refresh_token"]
        self._client.headers["authorization"] = f"Bearer {tokens['access_token']}"

    async def logout(self) -> None:
        """End the session."""
        await self._send("POST", "/authz/v1/logout")

    async def ask(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,  # noqa: ANN401 - any JSON
        version: str | None = None,
        purpose: str | None = None,
    ) -> httpx.Response:
        """Make a request; an access token that ran out is refreshed once."""
        headers = {}
        if version:
            headers["if-match"] = version
        if purpose:
            headers["purpose"] = purpose
        response = await self._send(method, path, json=json, headers=headers)
        if response.status_code == HTTPStatus.UNAUTHORIZED and await self._refresh():
            response = await self._send(method, path, json=json, headers=headers)
        return response

    async def _refresh(self) -> bool:
        body = {"refresh_token": self._refresh_token}
        answered = await self._send("POST", "/authz/v1/token/refresh", json=body)
        if answered.status_code == HTTPStatus.OK:
            self._accept(answered)
        return answered.status_code == HTTPStatus.OK

    async def _send(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,  # noqa: ANN401 - any JSON
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        response = await self._client.request(method, path, json=json, headers=headers)
        self._tally.count(method, path.partition("?")[0], response)
        return response

    async def items(self, path: str) -> list[dict[str, Any]]:
        """Return the items of a list's first page, none when it is refused."""
        response = await self.ask("GET", path)
        if response.status_code != HTTPStatus.OK:
            return []
        found: list[dict[str, Any]] = response.json()["items"]
        return found
