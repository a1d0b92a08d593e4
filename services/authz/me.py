"""Oneself: one's profile, and correcting it (AC-SEE-22, AC-DO-13)."""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from starlette.requests import Request

from services.authz import events as e
from services.authz.callers import Called
from services.authz.directory import Organisation, decode_organisation
from services.authz.login_views import AT
from services.authz.recording import data_of, person_object, person_stream
from services.authz.self_desk import SelfDesk
from services.authz.visits import Visit
from services.kernel.errors import Forbidden, PreconditionFailed, PreconditionRequired
from services.kernel.etags import etag, require_match
from services.kernel.handling import Draft
from services.kernel.wholeness import not_behind


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

    def moves(self, profile: e.Profile) -> bool:
        """Say whether messages to ``profile`` would go elsewhere (see ``authz.deliveries``)."""
        return self.email is not None and self.email != profile.email


class Me:
    """Oneself; see the module."""

    def __init__(self, desk: SelfDesk) -> None:
        self._desk = desk
        self._runtime = desk.runtime
        self._effects = desk.runtime.effects
        self._secret = desk.runtime.installation.secret("etag")

    async def profile(self, visit: Visit) -> Self:
        """Return one's profile with one's assignments."""

        async def decide() -> Draft[Self]:
            caller = await self._desk.called(visit)
            seen = await self._seen(caller)
            return await self._desk.answer(visit, caller, "read", "profile", reply=seen)

        return await self._runtime.handling.run(decide)

    async def correct(self, visit: Visit, request: Request, change: Change) -> Self:
        """Correct one's own details; 428 without ``If-Match``, 412 when it is not the newest."""
        return await self._runtime.handling.run(partial(self._corrected, visit, request, change))

    async def _corrected(self, visit: Visit, request: Request, change: Change) -> Draft[Self]:
        caller = await self._desk.called(visit)
        grounds = self._desk.grounds(caller, "update", "profile")
        try:
            require_match(request, (await self._seen(caller)).tag)
        except (PreconditionRequired, PreconditionFailed) as problem:
            return await self._desk.refuse(visit, caller, "update", problem)
        if grounds is None:
            return await self._desk.refuse(visit, caller, "update", Forbidden())
        person, event_id = caller.caller.person, self._effects.new_id()
        sealed = person.sealed_profile()
        before = await self._profile(caller)
        profile = change.of(before)
        text = msgspec.json.encode(profile).decode()
        box = self._runtime.keys.seal(sealed.ref, event_id, "profile", text)
        event = await self._desk.recorder.event(
            e.PROFILE_CORRECTED,
            visit.call,
            action="update",
            actor=caller.actor,
            session_id=visit.session_id,
            event_id=event_id,
            stream=(person_stream(person.id), person.version + 1),
            grounds=grounds,
            policy_version=self._desk.policy.version,
            object_=person_object(person.id),
            shown={"profile": [str(person.id)]},
            touches=(e.person_key(person.id),),
            data=data_of(
                e.ProfileCorrected(
                    person_id=person.id,
                    profile=box,
                    address_changed=change.moves(before),
                )
            ),
        )
        return Draft(self._desk.group(caller, [event]), await self._seen(caller, profile))

    async def _profile(self, caller: Called) -> e.Profile:
        sealed = caller.caller.person.sealed_profile()
        await self._runtime.keys.load([sealed.ref])
        return msgspec.json.decode(self._runtime.keys.open_sealed(sealed), type=e.Profile)

    async def _seen(self, caller: Called, profile: e.Profile | None = None) -> Self:
        profile = profile or await self._profile(caller)
        person = caller.caller.person
        names = await self._organisations(caller)
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

    async def _organisations(self, caller: Called) -> Mapping[UUID, Organisation]:
        row = await self._runtime.pool.fetchrow(
            f"select {AT}, array_agg(state) as states from authz.organisation where id = any($1)",
            [a.organisation_id for a in caller.caller.assignments],
        )
        assert row is not None  # noqa: S101 - an aggregate has one row
        not_behind(row["at"], caller.at)
        organisations = (decode_organisation(state) for state in row["states"] or ())
        return {organisation.id: organisation for organisation in organisations}
