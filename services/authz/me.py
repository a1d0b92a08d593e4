"""Oneself: one's profile, correcting it, one's password, and one's activity (AC-SEE-22, AC-DO-13).

Activity is what authz knows: one's own logins, their ends, and the facts of one's own account.
What somebody did with records is answered by audit; failed logins are audit's too.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
from starlette.requests import Request

from services.authz import events as e
from services.authz.callers import Called, called
from services.authz.credentials import CredentialSealer
from services.authz.directory import Organisation, decode_organisation
from services.authz.engine import Policy
from services.authz.enrolment import Enrolment
from services.authz.login import BadCredentials, Failures, Login
from services.authz.login_views import live_sessions
from services.authz.passwords import Passwords, own_details
from services.authz.recording import Recorder, data_of, person_object
from services.authz.sessions import Limits, endings
from services.authz.throttle import Throttle
from services.authz.visits import Visit
from services.kernel.cursors import Cursors
from services.kernel.errors import (
    Forbidden,
    PreconditionFailed,
    PreconditionRequired,
    Problem,
    Unauthenticated,
)
from services.kernel.etags import etag, require_match
from services.kernel.events import Event, Ground, Outcome, Recorded, decode
from services.kernel.handling import Draft
from services.kernel.log import Group
from services.kernel.runtime import Runtime
from services.kernel.sealing import Compartment, KeyRef, SealBroken, period_subject

_ROUTE: Final = "me/activity"
_OWN_FACTS: Final = """
    with own as (
        select position from log.fact where stream = 'person:' || $1::uuid
        union all select started_position from authz.login_session where person_id = $1
        union all select ended_position from authz.login_session
        where person_id = $1 and ended_position is not null
    )
    select (select min(position) from authz.projection) as at, e.position, e.body
    from own join log.event e using (position)
    where $2::bigint is null or position < $2 order by position desc limit $3
"""


class Self(NamedTuple):
    """What somebody sees of themselves, and its entity tag."""

    profile: Mapping[str, Any]
    tag: str


class Change(NamedTuple):
    """A correction of one's own profile: what is ``None`` stays."""

    given_name: str | None = None
    family_name: str | None = None
    email: str | None = None
    phone: str | None = None

    def of(self, profile: e.Profile) -> e.Profile:
        """Return ``profile`` as corrected."""
        said = {name: value for name, value in self._asdict().items() if value is not None}
        return msgspec.structs.replace(profile, **said)


class Did(msgspec.Struct, frozen=True):
    """One thing of one's own account, as one sees it oneself."""

    type: str
    occurred_at: datetime
    action: str
    outcome: str
    session_id: UUID | None = None
    #: only of what one did oneself: somebody else's address is not one's own
    ip: str | None = None
    device: str | None = None
    detail: Mapping[str, Any] = {}


class Page(NamedTuple):
    """Activity, newest first, and the cursor of what follows."""

    items: Sequence[Did]
    next_cursor: str | None


class Me:
    """Oneself; see the module."""

    def __init__(
        self,
        *,
        runtime: Runtime,
        recorder: Recorder,
        policy: Policy,
        login: Login,
        enrolment: Enrolment,
        passwords: Passwords,
        throttle: Throttle,
        failures: Failures,
        limits: Limits,
    ) -> None:
        self._runtime = runtime
        self._effects = runtime.effects
        self._recorder = recorder
        self._policy = policy
        self._login = login
        self._enrolment = enrolment
        self._passwords = passwords
        self._throttle = throttle
        self._failures = failures
        self._limits = limits
        self._secret = runtime.installation.secret("etag")
        self._cursors = Cursors(runtime.installation.secret("cursor"))

    async def profile(self, visit: Visit) -> Self:
        """Return one's profile with one's assignments."""

        async def decide() -> Draft[Self]:
            caller = await called(self._runtime, visit)
            seen = await self._seen(caller)
            return await self._answer(visit, caller, "read", "profile", reply=seen)

        return await self._runtime.handling.run(decide)

    async def correct(self, visit: Visit, request: Request, change: Change) -> Self:
        """Correct one's own details; 428 without ``If-Match``, 412 when it is not the newest."""
        return await self._runtime.handling.run(partial(self._corrected, visit, request, change))

    async def _corrected(self, visit: Visit, request: Request, change: Change) -> Draft[Self]:
        caller = await called(self._runtime, visit)
        grounds = self._grounds(caller, "update", "profile")
        try:
            require_match(request, (await self._seen(caller)).tag)
        except (PreconditionRequired, PreconditionFailed) as problem:
            return await self._refuse(visit, caller, "update", problem)
        if grounds is None:
            return await self._refuse(visit, caller, "update", Forbidden())
        person, event_id = caller.caller.person, self._effects.new_id()
        sealed = person.sealed_profile()
        profile = change.of(await self._profile(caller))
        text = msgspec.json.encode(profile).decode()
        box = self._runtime.keys.seal(sealed.ref, event_id, "profile", text)
        event = await self._recorder.event(
            e.PROFILE_CORRECTED,
            visit.call,
            action="update",
            actor=caller.actor,
            session_id=visit.session_id,
            event_id=event_id,
            stream=(f"person:{person.id}", person.version + 1),
            grounds=grounds,
            policy_version=self._policy.version,
            object_=person_object(person.id),
            shown={"profile": [str(person.id)]},
            touches=(e.person_key(person.id),),
            data=data_of(e.ProfileCorrected(person_id=person.id, profile=box)),
        )
        return Draft(self._group(caller, [event]), await self._seen(caller, profile))

    async def password(self, visit: Visit, current: str, new: str) -> None:
        """Change one's password; every other session of one's ends.

        Raises :class:`BadCredentials` when ``current`` is wrong, a ``PasswordRefused`` for the new.
        """
        account = await self._login.account("a.person_id", visit.person_id)
        if account is None:
            raise Unauthenticated
        admission = await self._login.admit(account.username_digest, visit.call)
        if not await self._login.fits(account, current):
            name = account.username_digest
            await self._failures.failed(
                visit.call, name, "password_change", "mismatch", visit.person_id
            )
            raise BadCredentials
        await self._throttle.take_back(admission)
        username, profile = await self._enrolment.details(account)
        await self._passwords.check(new, own_details(profile, username))
        kept = await self._passwords.hash(new)
        rested_on = account.password.event_id if account.password else None
        await self._runtime.handling.run(partial(self._changed, visit, kept, rested_on))

    async def _changed(self, visit: Visit, kept: str, rested_on: UUID | None) -> Draft[None]:
        caller = await called(self._runtime, visit)
        person = caller.caller.person
        account = await self._login.account("a.person_id", person.id)
        if account is None or account.password is None or account.password.event_id != rested_on:
            return await self._refuse(visit, caller, "update", BadCredentials())
        carried = CredentialSealer(self._runtime.keys, self._effects, person.id).password(kept)
        event = await self._recorder.event(
            carried.type,
            visit.call,
            action="update",
            actor=caller.actor,
            session_id=visit.session_id,
            event_id=carried.event_id,
            stream=(f"person:{person.id}", person.version + 1),
            object_=person_object(person.id),
            touches=(e.person_key(person.id), e.login_key(person.id)),
            data=data_of(carried.payload),
        )
        others = [
            s
            for s in await live_sessions(self._runtime.pool, person.id)
            if s.id != visit.session_id
        ]
        ended = endings(self._effects, others, "reset", self._limits, caller.actor)
        group = self._group(caller, [event, *ended], e.login_key(person.id))
        return Draft(group, None)

    async def activity(self, visit: Visit, limit: int, cursor: str | None) -> Page:
        """Return one's own activity as authz knows it, newest first."""
        before = (
            self._cursors.open(visit.person_id, _ROUTE, cursor, int) if cursor is not None else None
        )

        async def decide() -> Draft[Page]:
            caller = await called(self._runtime, visit)
            rows = await self._runtime.pool.fetch(_OWN_FACTS, visit.person_id, before, limit + 1)
            recorded = [decode(row["position"], row["body"]) for row in rows]
            page = await self._page(visit, recorded, limit)
            ids = [str(r.event.id) for r in recorded[:limit]]
            return await self._answer(visit, caller, "list", "activity", reply=page, ids=ids)

        return await self._runtime.handling.run(decide)

    async def _page(self, visit: Visit, recorded: Sequence[Recorded], limit: int) -> Page:
        shown = recorded[:limit]
        months = {period_subject("origin", r.event.recorded_at) for r in shown}
        await self._runtime.keys.load(KeyRef(month, Compartment.ORIGIN) for month in months)
        more = len(recorded) > limit
        following = (
            self._cursors.seal(visit.person_id, _ROUTE, shown[-1].position) if more else None
        )
        return Page([self._did(visit.person_id, r.event) for r in shown], following)

    def _did(self, person_id: UUID, event: Event) -> Did:
        own = event.actor.person_id == person_id
        origin = self._origin(event) if own else {}
        detail = {k: event.data[k] for k in _TOLD.get(event.type, ()) if k in event.data}
        return Did(
            type=event.type,
            occurred_at=event.effective_at or event.recorded_at,
            action=event.action,
            outcome=str(event.outcome),
            session_id=event.origin.session_id if own else None,
            ip=origin.get("ip"),
            device=origin.get("device"),
            detail=detail,
        )

    def _origin(self, event: Event) -> Mapping[str, str]:
        ref = KeyRef(period_subject("origin", event.recorded_at), Compartment.ORIGIN)
        try:
            text = self._runtime.keys.open(ref, event.id, "origin", event.origin.sealed or "..")
            return msgspec.json.decode(text, type=dict[str, str])
        except SealBroken:
            return {}

    async def _profile(self, caller: Called) -> e.Profile:
        sealed = caller.caller.person.sealed_profile()
        await self._runtime.keys.load([sealed.ref])
        return msgspec.json.decode(self._runtime.keys.open_sealed(sealed), type=e.Profile)

    async def _seen(self, caller: Called, profile: e.Profile | None = None) -> Self:
        profile = profile or await self._profile(caller)
        person = caller.caller.person
        names = await self._organisations([a.organisation_id for a in caller.caller.assignments])
        shown: dict[str, Any] = {
            "person_id": person.id,
            **msgspec.structs.asdict(profile),
            "assignments": [
                {
                    "id": a.id,
                    "role": a.role.value,
                    "organisation_id": a.organisation_id,
                    "organisation": names[a.organisation_id].name
                    if a.organisation_id in names
                    else None,
                    "from": a.starts_at,
                    "until": a.ends_at,
                }
                for a in caller.caller.assignments
            ],
        }
        tag = etag(self._secret, person.id, msgspec.json.encode(shown, order="deterministic"))
        return Self({**shown, "version": tag.strip('"')}, tag)

    async def _organisations(self, ids: Sequence[UUID]) -> Mapping[UUID, Organisation]:
        rows = await self._runtime.pool.fetch(
            "select id, state from authz.organisation where id = any($1)", ids
        )
        return {row["id"]: decode_organisation(row["state"]) for row in rows}

    def _grounds(self, caller: Called, action: str, part: str) -> tuple[Ground, ...] | None:
        """Return the assignment and clause this rests on; everybody has themselves."""
        facts = self._policy.bits(("self",))
        for assignment in caller.caller.assignments:
            clause = self._policy.clause(assignment.role.value, action, part, facts)
            if clause is not None:
                return (Ground(assignment.id, assignment.role.value, clause, (part,)),)
        return () if self._policy.clause("nobody", action, part, facts) else None

    async def _answer(
        self,
        visit: Visit,
        caller: Called,
        action: str,
        part: str,
        *,
        reply: Any,  # noqa: ANN401 - passed on as it is
        ids: Sequence[str] = (),
    ) -> Draft[Any]:
        grounds = self._grounds(caller, "read", part)
        if grounds is None:
            return await self._refuse(visit, caller, action, Forbidden())
        person_id = caller.caller.person.id
        event = await self._recorder.event(
            e.READ,
            visit.call,
            action=action,
            actor=caller.actor,
            session_id=visit.session_id,
            grounds=grounds,
            policy_version=self._policy.version,
            object_=person_object(person_id),
            shown={part: ids or [str(person_id)]},
        )
        return Draft(self._group(caller, [event]), reply)

    async def _refuse(
        self, visit: Visit, caller: Called, action: str, problem: Problem
    ) -> Draft[Any]:
        event = await self._recorder.event(
            e.REFUSED,
            visit.call,
            action=action,
            actor=caller.actor,
            session_id=visit.session_id,
            outcome=Outcome.DENIED,
            object_=person_object(caller.caller.person.id),
            data={"reason": problem.code},
        )
        return Draft(self._group(caller, [event]), problem)

    def _group(self, caller: Called, events: Sequence[Event], *guards: str) -> Group:
        return Group(
            events,
            caller.at,
            (*caller.caller.guards, *guards),
            valid_until=caller.caller.valid_until,
        )


#: what of an event's data its person is told; none of it is sealed
_TOLD: Final[Mapping[str, tuple[str, ...]]] = {
    e.SESSION_STARTED: ("session_id", "methods", "expires_at", "other_sessions"),
    e.SESSION_ENDED: ("session_id", "reason", "duration_s"),
    e.ASSIGNMENT_GRANTED: (
        "assignment_id",
        "role",
        "organisation_id",
        "starts_at",
        "ends_at",
    ),
    e.ASSIGNMENT_REVOKED: ("assignment_id",),
}
