"""Loads the region into an empty log, through the same appends that requests use.

Guarantees: interrupted at any moment, the next call goes on where the log ends; the region and the
order of its groups follow from the mark in the database alone. A group that has landed is known by
its first fact. Does not guarantee the same bytes twice: event ids, keys and seals are fresh.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from argon2 import PasswordHasher, Type

from services import demonstration as marker
from services.authz import passwords
from services.authz.usernames import Usernames
from services.demo.abroad import with_desks
from services.demo.chance import Chance
from services.demo.credentials import password_for
from services.demo.history import Narrator
from services.demo.posts import Posts
from services.demo.region import Region, build_region
from services.demo.sealed import Sealer
from services.demo.staffing import Staffing
from services.demo.steps import Step, student_step
from services.kernel.background import patiently
from services.kernel.event_types import Registry
from services.kernel.events import Service
from services.kernel.groups import Group
from services.kernel.log import Refused
from services.kernel.runtime import open_runtime

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import date

    import asyncpg

    from services.demo.records import Person
    from services.kernel.runtime import Installation, Runtime
    from services.progress import Progress, Stage

_PER_GROUP: Final = 200
_HASHERS: Final = 2
_SALT_BYTES: Final = 16
_AT_ONCE: Final = 32
#: argon2id with a fraction of the work that a password chosen by a person gets: five random words
#: and two digits need no slow hash, and a first start needs to be quick
_QUICK: Final = PasswordHasher(time_cost=1, memory_cost=4_096, parallelism=1, type=Type.ID)


def demonstration(seed: int, today: date) -> Region:
    """Return everything a demonstration of this seed and day holds."""
    return with_desks(build_region(seed, today), Chance(seed), today)


async def load(
    installation: Installation, owner: asyncpg.Connection, mark: marker.Mark, progress: Progress
) -> None:
    """Append whatever of the region is not in the log yet, and finish the mark."""
    with progress.stage("making up the region"):
        region = await asyncio.to_thread(demonstration, mark.seed, mark.today)
    rows = await owner.fetch("select stream, version from log.fact")
    facts = {(row["stream"], row["version"]) for row in rows}
    landed = {stream for stream, _ in facts}
    hashing = asyncio.create_task(_hashes(installation, region, mark.seed, landed))
    try:
        await _load_cases(installation, region, mark.seed, facts, progress)
        await _load_authz(installation, region, mark.seed, landed, hashing, progress)
    finally:
        hashing.cancel()
    await marker.finish(owner)


async def _hashes(
    installation: Installation, region: Region, seed: int, landed: set[str]
) -> dict[str, str]:
    """Hash the passwords of people who are not in the log yet, two at a time."""
    people = [p for p in region.people if f"person:{p.person_id}" not in landed]

    def hashed(person: Person) -> str:
        salt = installation.effects.token(_SALT_BYTES)
        return passwords.hash_password(password_for(seed, person.username), salt, _QUICK)

    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(_HASHERS) as pool:
        try:
            found = await asyncio.gather(
                *(loop.run_in_executor(pool, hashed, person) for person in people)
            )
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    return {person.username: text for person, text in zip(people, found, strict=True)}


async def _load_authz(
    installation: Installation,
    region: Region,
    seed: int,
    landed: set[str],
    hashing: asyncio.Task[dict[str, str]],
    progress: Progress,
) -> None:
    runtime = await _appender(installation, Service.AUTHZ)
    try:
        usernames = Usernames(installation.secret("username"))
        staffing = Staffing(region, seed, runtime.keys, runtime.effects, usernames)
        await runtime.keys.load(staffing.needed_keys(), create=True)
        with progress.stage("loading staff", len(region.people)) as stage:
            await _append(runtime, _new(staffing.organisations(), landed))
            await _append(runtime, _new(staffing.clients(), landed))
            hashes = await hashing
            people = [p for p in region.people if p.username in hashes]
            await _append(runtime, (staffing.person(p, hashes[p.username]) for p in people), stage)
    finally:
        await runtime.stop()


async def _load_cases(
    installation: Installation,
    region: Region,
    seed: int,
    facts: set[tuple[str, int]],
    progress: Progress,
) -> None:
    steps = _steps(region, seed)
    runtime = await _appender(installation, Service.CASES)
    try:
        sealer = Sealer(runtime.keys, runtime.effects)
        with progress.stage("making keys"):
            await sealer.prepare(steps)
        with progress.stage("loading learners and their cases", len(steps)) as stage:
            for first in range(0, len(steps), _PER_GROUP):
                events = sealer.events(steps[first : first + _PER_GROUP])
                if (events[0].stream, events[0].version) not in facts:
                    await _land(runtime, Group(events))
                stage.advance(len(events))
    finally:
        await runtime.stop()


def _steps(region: Region, seed: int) -> list[Step]:
    """Return everything that happened to learners and records, oldest first."""
    names = {o.organisation_id: o.name for o in region.organisations}
    narrator = Narrator(region, Chance(seed), Posts(region.people))
    moves = {move.former.student_id: move for move in region.moves}
    known: list[Step] = []
    happened: list[Step] = []
    for student in region.students:
        move = moves.get(student.student_id)
        known.append(student_step(move.former if move else student, names))
        if move:
            happened.append(student_step(student, names, move.at))
    happened += [step for request in region.requests for step in narrator.request(request)]
    # a stable sort: what a record's stream says at one moment stays in its order
    happened.sort(key=lambda step: step.at.timestamp() if step.at else 0)
    return [*known, *happened]


async def _appender(installation: Installation, service: Service) -> Runtime:
    """Open a runtime that appends and follows nothing."""
    runtime = await open_runtime(installation, service, Registry([]), lambda _keys: [])
    runtime.log.start()
    return runtime


def _new(groups: Iterable[Group], landed: set[str]) -> Iterator[Group]:
    return (group for group in groups if group.events[0].stream not in landed)


async def _land(runtime: Runtime, group: Group) -> None:
    """Append a group, again while the log is slow: one that landed unseen conflicts with itself."""
    offered = False

    async def offer() -> None:
        nonlocal offered
        again, offered = offered, True
        try:
            await runtime.log.append(group)
        except Refused:
            if not again:
                raise

    await patiently(offer)


async def _append(runtime: Runtime, groups: Iterable[Group], stage: Stage | None = None) -> None:
    """Append many groups, some at a time."""
    waiting = list(groups)
    for first in range(0, len(waiting), _AT_ONCE):
        some = waiting[first : first + _AT_ONCE]
        await asyncio.gather(*(_land(runtime, group) for group in some))
        if stage is not None:
            stage.advance(len(some))
