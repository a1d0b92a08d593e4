"""``Idempotency-Key``: a POST that is safe to send again.

A key is scoped to the person, the route and the path. What is kept, in the last fact of the group
that did the work, is an HMAC of the body and the ids of what was made; never a response. A repeat
is authorised, recorded and rendered anew, from the ids; another body under the same key is
malformed, and since that is known by what is stored, recorded before it is told. A refused attempt
keeps nothing: its key is still free.

Place in the flow: around :meth:`services.kernel.handling.Handling.run`. Whoever calls has already
authenticated the request (401 comes before 422).
"""

import hmac
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Final, TypeVar
from uuid import UUID

import msgspec
from starlette.requests import Request

from services.kernel.errors import KeyReused, Malformed, Problem, outcome_of
from services.kernel.events import Event, Outcome, Service
from services.kernel.groups import Group
from services.kernel.handling import Draft
from services.kernel.log import Duplicate
from services.kernel.reading import read_one
from services.kernel.runtime import Runtime

T = TypeVar("T")
Made = Mapping[str, UUID]
_FIELD: Final = "idempotency"
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}\Z")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request under a key: both as keyed digests, so that neither can be read back."""

    key: bytes
    body: bytes


class _Kept(msgspec.Struct, frozen=True):
    """What the log keeps of a request that was done."""

    key: str
    body: str
    ids: dict[str, UUID]


class Idempotency:
    """Runs POSTs of one service at most once per key."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._secret = runtime.installation.secret("idempotency")

    async def attempt(self, request: Request, person_id: UUID | str) -> Attempt | None:
        """Return the attempt that ``request`` makes, ``None`` without the header.

        Raises :class:`Malformed` for a key that is not 1 to 255 printable ASCII characters. White
        space and the order of fields in a JSON body make no difference.
        """
        key = request.headers.get("idempotency-key")
        if key is None:
            return None
        if not _KEY.match(key):
            raise Malformed("Idempotency-Key: 1 to 255 printable characters")
        route = f"{self._runtime.service} {request.method} {_path(request)}"
        scope = f"{person_id}|{route}|{key}".encode()
        # Under another key the same body is another digest: the log does not tell what is alike.
        body = self._digest(b"body|%b|%b" % (scope, _canonical(await request.body())))
        return Attempt(self._digest(b"key|" + scope), body)

    async def run(
        self,
        attempt: Attempt | None,
        first: Callable[[], Awaitable[Draft[T]]],
        repeat: Callable[[Made], Awaitable[Draft[T]]],
    ) -> T:
        """Return the reply of ``first``, or of ``repeat`` when ``attempt`` was done before.

        Both are ``decide`` functions as :class:`Handling` takes them. ``first`` puts the ids of
        what it makes into ``Draft.made``; ``repeat`` gets them back and drafts a recorded read.
        Two attempts at the same moment: one is first, the other repeats it. Raises
        :class:`KeyReused` for another body, once it is recorded that what ``first`` would have done
        failed, and whatever the drafts refuse.
        """
        if attempt is None:
            return await self._runtime.handling.run(first)
        try:
            return await self._run(attempt, first, repeat)
        except KeyReused as problem:
            reused = problem
        service = self._runtime.service
        return await self._runtime.handling.run(lambda: _failed(first, reused, service))

    async def _run(
        self,
        attempt: Attempt,
        first: Callable[[], Awaitable[Draft[T]]],
        repeat: Callable[[Made], Awaitable[Draft[T]]],
    ) -> T:
        handling = self._runtime.handling
        made = await self._made(attempt, await self._held(attempt))
        if made is None:
            try:
                return await handling.run(lambda: _stamped(first, attempt))
            except (Duplicate, Problem) as refused:
                # The other attempt may have landed between our look and our decision, which then
                # met what it had made: a conflict with ourselves.
                made = await self._made(attempt, await self._held(attempt))
                if made is None:
                    raise refused from None
        ids = made
        return await handling.run(lambda: repeat(ids))

    async def _held(self, attempt: Attempt) -> int | None:
        position: int | None = await self._runtime.pool.fetchval(
            "select position from log.once where key = $1 and role = current_user", attempt.key
        )
        return position

    async def _made(self, attempt: Attempt, position: int | None) -> Made | None:
        recorded = None if position is None else await read_one(self._runtime.pool, position)
        if recorded is None:
            return None
        await self._runtime.projector.reached(recorded.position)
        kept = msgspec.convert(recorded.event.data[_FIELD], _Kept)
        if not hmac.compare_digest(kept.body, attempt.body.hex()):
            raise KeyReused("Idempotency-Key was used with another body")
        return kept.ids

    def _digest(self, text: bytes) -> bytes:
        return hmac.new(self._secret, text, sha256).digest()


async def _stamped(first: Callable[[], Awaitable[Draft[T]]], attempt: Attempt) -> Draft[T]:
    """Draft, and let the group hold the key unless it is a refusal."""
    draft = await first()
    if isinstance(draft.reply, Problem):
        return draft
    kept = _Kept(attempt.key.hex(), attempt.body.hex(), dict(draft.made))
    group = draft.group
    return replace(
        draft,
        group=replace(group, events=_with_kept(group, kept), once=(*group.once, attempt.key)),
    )


async def _failed(
    first: Callable[[], Awaitable[Draft[T]]], problem: Problem, service: Service
) -> Draft[T]:
    """Draft that what ``first`` would do failed by ``problem``: its event, and nothing is done.

    Told where that would have been, of what it would have been about; but where it would have been
    denied, of a learner to the Ministry alone, as a look in vain is (docs/decisions/0003, 25, 39).
    """
    draft = await first()
    told = draft.group.events[0]
    in_vain = {"students": ()} if told.outcome is Outcome.DENIED else {}
    event = msgspec.structs.replace(
        told,
        type=f"{service}.refused",
        schema=1,
        stream=None,
        version=None,
        effective_at=None,
        outcome=outcome_of(problem),
        grounds=(),
        organisation_id=told.organisation_id and told.actor.organisation_id,
        shown={},
        touches=(),
        data={"code": problem.code, **_record(told), **in_vain},
    )
    return Draft(replace(draft.group, events=[event], once=()), problem)


def _record(event: Event) -> Mapping[str, object]:
    """Return, for the data of what did not happen, the record that ``event`` is about part of."""
    if event.stream is None:
        return {"record": event.data["record"]} if "record" in event.data else {}
    kind, _, id_ = event.stream.partition(":")
    return {"record": {"type": kind, "id": id_}}


def _with_kept(group: Group, kept: _Kept) -> list[Event]:
    """Put ``kept`` where the log will say the key is held: the last fact, else the first event."""
    events = list(group.events)
    facts = [number for number, event in enumerate(events) if event.stream is not None]
    holder = facts[-1] if facts else 0
    data: dict[str, Any] = {**events[holder].data, _FIELD: msgspec.to_builtins(kept)}
    events[holder] = msgspec.structs.replace(events[holder], data=data)
    return events


def _path(request: Request) -> str:
    """Return the path below where the service is mounted: alone or mounted, the same.

    An id is the same however it is written.
    """
    path, root = request.scope["path"], request.scope.get("root_path", "")
    return "/".join(map(_segment, path.removeprefix(root).split("/")))


def _segment(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        return text


def _canonical(body: bytes) -> bytes:
    try:
        return msgspec.json.encode(msgspec.json.decode(body), order="sorted")
    except msgspec.MsgspecError:
        return body
