"""Wiring of authz: what depends on what, which routes there are, what runs beside them.

The sub-application is mounted, and a mounted application's lifespan does not run: whoever mounts
it calls :meth:`Authz.start` and :meth:`Authz.stop`.
"""

import asyncio
from datetime import timedelta
from functools import partial
from typing import Final

from fastapi import FastAPI

from services.authz import engine
from services.authz import events as e
from services.authz.access import AccessTokens
from services.authz.accounts import Accounts
from services.authz.activity import follower
from services.authz.administration import Administration
from services.authz.api_access import access_router
from services.authz.api_catchments import catchment_router
from services.authz.api_clients import client_router
from services.authz.api_containment import containment_router
from services.authz.api_login import login_router
from services.authz.api_me import me_router
from services.authz.api_organisations import organisation_router
from services.authz.api_people import people_router
from services.authz.attempts import Attempts, Failures
from services.authz.channels import Channel, channel_of
from services.authz.client_register import count
from services.authz.clients import Clients
from services.authz.courier import Courier
from services.authz.delivery_fold import Deliveries
from services.authz.desk import Desk
from services.authz.directory_fold import Directory
from services.authz.enrolment import Enrolment
from services.authz.front_door import FrontDoor
from services.authz.invitations import Invitations
from services.authz.login import Login
from services.authz.login_fold import LoginView
from services.authz.me import Me
from services.authz.own_activity import OwnActivity
from services.authz.own_password import PasswordChanges
from services.authz.passwords import FULL, Effort, Passwords
from services.authz.recording import Recorder
from services.authz.self_desk import SelfDesk
from services.authz.session_ends import Limits
from services.authz.sessions import Sessions
from services.authz.signing_keys import SigningKeys
from services.authz.throttle import Throttle
from services.authz.tokens import Tokens
from services.authz.usernames import Usernames
from services.authz.verification import Verification
from services.authz.visits import Gate
from services.kernel.application import application
from services.kernel.background import ended, every, patiently
from services.kernel.documents import Ways
from services.kernel.event_types import Registry
from services.kernel.events import Service
from services.kernel.projector import Projector
from services.kernel.refusals import RefusalWindows
from services.kernel.runtime import Installation, Runtime, open_runtime
from services.kernel.settings import Settings

_WAYS: Final = Ways(
    about="Who somebody is, and what they may do: login with two factors, sessions, service "
    "clients, organisations, people, roles. Whatever is answered here was recorded first.",
    tags={
        "login": "From a password and a second factor to tokens; invitations",
        "clients": "Service clients' tokens, and the keys that tokens are signed with",
        "me": "Oneself: profile, activity, password, logout",
        "organisations": "Organisations and who works there",
        "catchments": "Which schools a provider serves",
        "people": "Who somebody is",
        "access": "Roles given and taken back, and leaders' decisions",
        "containment": "Suspension and reset",
    },
    anonymous=(
        "/.well-known/jwks.json",
        "/v1/login",
        "/v1/login/verify",
        "/v1/token",
        "/v1/token/refresh",
        "/v1/enrolment",
        "/v1/enrolment/confirm",
    ),
    clients=("/v1/token",),
    unrepeatable=("/v1/logout", "/v1/me/password"),
    conditional=("/v1/me", "/v1/people/{person_id}", "/v1/organisations/{organisation_id}"),
)
_SWEEP_S: Final = 15.0
_COUNT_S: Final = 15.0
_HOUSEKEEPING_S: Final = 600.0
_DELIVERY_S: Final = 1.0


class Authz:
    """The service: its application, its runtime, and what runs beside the requests."""

    def __init__(
        self, runtime: Runtime, settings: Settings, channel: Channel, effort: Effort = FULL
    ) -> None:
        self.runtime = runtime
        self.settings = settings
        self.limits = Limits(settings)
        effects, secret = runtime.effects, runtime.installation.secret
        self.policy = engine.load()
        self.recorder = Recorder(effects, runtime.origins)
        self.windows = RefusalWindows(runtime.log, runtime.origins, effects)
        self.usernames = Usernames(secret("username"))
        self.passwords = Passwords(effects, effort.hasher)
        self.throttle = Throttle(runtime.pool, secret("throttle"), effects)
        self.signing_keys = SigningKeys(runtime)
        self.access_life = timedelta(seconds=settings.access_token_seconds)
        self.tokens = Tokens(self.signing_keys, effects, self.access_life)
        self.failures = Failures(runtime, self.recorder, self.windows)
        self.sessions = Sessions(runtime, self.recorder, self.tokens, self.limits)
        self.access = AccessTokens(runtime.pool, "authz", runtime.projector)
        self.gate = Gate(runtime, self.access)
        #: follows the whole log, for ``authz.activity`` alone
        self.follower = follower(runtime.projector_pool)
        self.courier = Courier(runtime, channel, Invitations(secret("invitation")))
        self.app = self._application(effort.floor_s)
        self._tasks: list[asyncio.Task[None]] = []

    def _front_door(self, floor_s: float) -> FrontDoor:
        return FrontDoor(
            runtime=self.runtime,
            recorder=self.recorder,
            attempts=Attempts(self.throttle, self.failures, self.runtime.projector, floor_s),
            usernames=self.usernames,
            accounts=Accounts(self.runtime, self.passwords, self.limits.idle),
            tokens=self.tokens,
            limits=self.limits,
        )

    def _application(self, floor_s: float) -> FastAPI:
        app = application(Service.AUTHZ, _WAYS)
        self.windows.count_unauthenticated(app, e.UNAUTHENTICATED)
        door = self._front_door(floor_s)
        login, verification, enrolment = Login(door), Verification(door), Enrolment(door)
        app.include_router(login_router(login, verification, self.sessions, self.tokens, enrolment))
        clients = Clients(door, self.settings.authz_url)
        app.include_router(client_router(clients, self.signing_keys))
        desk = SelfDesk(self.runtime, self.recorder, self.policy)
        activity, changes = OwnActivity(desk, self.follower), PasswordChanges(desk, door)
        app.include_router(me_router(self.gate, Me(desk), activity, changes, self.sessions))
        administration = Desk(self.runtime, self.policy, self.recorder, self.limits)
        channel = self.courier.channel
        app.include_router(organisation_router(self.gate, administration, channel))
        app.include_router(catchment_router(self.gate, administration))
        app.include_router(people_router(self.gate, administration, channel))
        app.include_router(access_router(self.gate, administration))
        app.include_router(containment_router(self.gate, administration, channel))
        return app

    @property
    def projectors(self) -> tuple[Projector, ...]:
        """The facts that decisions use, and one's own activity, which none waits for."""
        return (self.runtime.projector, self.follower)

    async def start(self) -> None:
        """Begin to serve: fold what is in the log, make the first signing key, sweep.

        What began is stopped again when not all of it can.
        """
        self.runtime.start()
        self.follower.start()
        projector = self.runtime.projector
        try:
            await patiently(self.signing_keys.ensure, hopeless=lambda: projector.stopped)
        except BaseException:
            await self.stop()
            raise
        self.windows.start()
        self._tasks = [
            asyncio.create_task(every(_SWEEP_S, self.sessions.sweep, "authz sessions")),
            asyncio.create_task(every(_DELIVERY_S, self.courier.sweep, "authz deliveries")),
            asyncio.create_task(
                every(_COUNT_S, partial(count, self.runtime), "authz clients", at_once=True)
            ),
            asyncio.create_task(every(_HOUSEKEEPING_S, self._housekeeping, "authz housekeeping")),
        ]

    async def stop(self) -> None:
        """Append what was accepted and counted, then stop."""
        await ended(*self._tasks)
        await self.windows.stop()
        await self.follower.stop()
        await self.runtime.stop()
        self.passwords.close()

    async def _housekeeping(self) -> None:
        await self.throttle.sweep()
        await self.courier.housekeeping()
        await self.signing_keys.turn(self.access_life)
        self.access.forget_keys()


async def build(installation: Installation, settings: Settings, effort: Effort = FULL) -> Authz:
    """Open authz's runtime and wire it; nothing runs until :meth:`Authz.start`.

    Raises :class:`services.kernel.settings.BadSetting` when messages could not be delivered.
    """
    channel = channel_of(settings, installation.data)
    runtime = await open_runtime(
        installation,
        Service.AUTHZ,
        Registry(e.TYPES),
        lambda _keys: [Directory("authz"), LoginView(), Administration(), Deliveries()],
        projectors=2,
    )
    async with runtime.wired():
        return Authz(runtime, settings, channel, effort)
