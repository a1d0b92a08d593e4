"""The audited read over HTTP against a bare, a recorded and an obviously built one, round about.

Four processes serve side by side over one PostgreSQL and are asked one after the other, again and
again; each rate is the median of its rounds.
"""

import asyncio
import json
import random
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.request import Request, urlopen
from uuid import UUID

import asyncpg

from services.authz import engine
from services.authz.directory import Caller, decode_person
from services.cases.judge import Judge
from services.cases.views import decode_record, decode_student
from services.demo.region import Region
from services.kernel.runtime import Installation
from tests.bench import place, serving
from tests.bench.peers import ANSWER, RECORD, STANDING, database_at, metadata
from tests.bench.place import SignedIn
from tests.bench.results import Results, middle
from tests.bench.serving import Serving

FLUSH_MS: Final = 4
_DATABASE: Final = "peers"
#: the peers, each with what its read is called
_PEERS: Final = {"bare": "bare_read", "recorded": "recorded_read", "obvious": "obvious_build"}
_THINGS: Final = "shared cleared agreed seen_itself elsewhere sees_record"


@dataclass(frozen=True)
class Effort:
    """How much to measure."""

    rounds: int = 7
    seconds: float = 1.5


@dataclass(frozen=True)
class Target:
    """A case, and somebody who sees it."""

    case_id: UUID
    reader: SignedIn

    @property
    def request(self) -> bytes:
        """The request as it is sent."""
        return serving.request(f"/cases/v1/cases/{self.case_id}", self.reader.token)


def measure(results: Results, installation: Installation, made: Region, effort: Effort) -> None:
    """Measure all of it into ``results``; the region has been seeded."""
    signed, key = asyncio.run(place.sign_in(installation, sorted(_readers(made))))
    (installation.data / "bench.key").write_bytes(key)
    with ExitStack() as stack:
        ours = stack.enter_context(serving.casewarden(installation, "cases"))
        answers = _answers(ours, installation, made, signed)
        url = asyncio.run(_fill_peers(installation, answers))
        settings = {"BENCH_DATABASE": url, "BENCH_KEY": str(installation.data / "bench.key")}
        sides = {"casewarden": ours}
        for name in _PEERS:
            sides[name] = stack.enter_context(serving.peer(name, settings))
        requests = [target.request for target, _ in answers]
        size = middle([float(len(body)) for _, body in answers])
        print(f"audited read: {len(requests)} cases, {size:,.0f} bytes in the middle")
        _compare(results, sides, requests, effort, "")
        with place.slow_flush(installation, FLUSH_MS):
            lone = asyncio.run(place.lone_commit_ms(installation))
            results.figure("lone_commit_ms_4ms", lone, "with 4 ms injected into every flush")
            _compare(results, sides, requests, effort, f"_{FLUSH_MS}ms")
    for peer in _PEERS.values():
        name = f"audited_read_vs_{peer}"
        results.least(name, f"{name}_c1", f"{name}_c64")


def _compare(
    results: Results,
    sides: dict[str, Serving],
    requests: Sequence[bytes],
    effort: Effort,
    suffix: str,
) -> None:
    for connections in (1, 64):
        rates: dict[str, list[float]] = {name: [] for name in sides}
        tails: list[float] = []
        for number in range(effort.rounds + 1):
            for name, side in sides.items():
                seen = side.load(requests, connections, effort.seconds)
                if seen.failed:
                    raise RuntimeError(f"{name}: {seen.failed} requests failed")
                if number:  # the first round warms up
                    rates[name].append(seen.rate)
                    if name == "casewarden":
                        tails.append(seen.p99_ms)
        label = f"c{connections}{suffix}"
        ours = middle(rates["casewarden"])
        results.figure(f"audited_read_per_s_{label}", ours, "a second")
        results.figure(f"audited_read_p99_ms_{label}", middle(tails), "ms")
        for peer, name in _PEERS.items():
            ratio = f"audited_read_vs_{name}_{label}"
            results.ratio(ratio, ours, middle(rates[peer]), "reads/s")


def _readers(made: Region) -> set[UUID]:
    """Return the case managers, and the leaders of schools and providers."""
    managers = {case.case_manager_id for case in made.cases}
    roles = {"school_leader", "asp_workflow_lead"}
    leaders = {p.person_id for p in made.people if any(a.role in roles for a in p.assignments)}
    return managers | leaders


def _answers(
    ours: Serving, installation: Installation, made: Region, signed: dict[UUID, SignedIn]
) -> list[tuple[Target, bytes]]:
    """Draw one reader of each case, and find the bytes they are answered."""
    draw = random.Random(place.SEED)
    found = []
    for case_id, readers in asyncio.run(_sees(installation, made)).items():
        if readers:
            target = Target(case_id, signed[draw.choice(readers)])
            found.append((target, _ask(ours, target)))
    return found


async def _sees(installation: Installation, made: Region) -> dict[UUID, list[UUID]]:
    """Return who among the likely readers of each case sees it now."""
    judge, now = Judge(engine.load()), datetime.now(UTC)
    owner = await asyncpg.connect(installation.server.url)
    try:
        rows = await owner.fetch("select state from cases.person")
        people = {p.id: p for p in (decode_person(row["state"]) for row in rows)}
        rows = await owner.fetch(
            "select r.state, r.things, s.state as student from cases.record r"
            " join cases.student s on s.id = r.student_id where r.kind = 'case' order by r.id"
        )
    finally:
        await owner.close()
    likely = [people[person_id] for person_id in sorted(_readers(made))]
    callers = [
        Caller(p, p.id, now, tuple(a for a in p.assignments if a.in_force(now))) for p in likely
    ]
    found = {}
    for row in rows:
        record, student = decode_record(row["state"], row["things"]), decode_student(row["student"])
        sees = [c.person.id for c in callers if judge.see(c, record, student)]
        found[record.id] = sees
    return found


def _ask(ours: Serving, target: Target) -> bytes:
    asked = Request(f"http://127.0.0.1:{ours.port}/cases/v1/cases/{target.case_id}")
    asked.add_header("Authorization", f"Bearer {target.reader.token}")
    with urlopen(asked, timeout=10) as answer:  # noqa: S310 - loopback
        body: bytes = answer.read()
        return body


async def _fill_peers(installation: Installation, answers: list[tuple[Target, bytes]]) -> str:
    """Make the peers' database with the same answers in it; return its URL."""
    owner = await asyncpg.connect(installation.server.url)
    try:
        await owner.execute(f"create database {_DATABASE}")
        standings = [await _standing(owner, target) for target, _ in answers]
    finally:
        await owner.close()
    url = installation.server.url.replace("/casewarden?", f"/{_DATABASE}?")
    database = database_at(url)
    async with database.begin() as connection:
        await connection.run_sync(metadata().create_all)
        rows = [{"id": target.case_id, "body": body} for target, body in answers]
        await connection.execute(ANSWER.insert(), rows)
        await connection.execute(RECORD.insert(), [_record(t, body) for t, body in answers])
        await connection.execute(STANDING.insert(), standings)
    async with database.connect() as connection:
        await connection.exec_driver_sql("analyze")
    await database.dispose()
    return url


def _record(target: Target, body: bytes) -> dict[str, Any]:
    content = json.loads(body)
    parts = content.pop("parts")
    return {"id": target.case_id, "head": content, "parts": parts}


async def _standing(owner: asyncpg.Connection, target: Target) -> dict[str, Any]:
    """Return the facts between a reader and a case, as the policy's rows name them."""
    row = await owner.fetchrow(
        "select r.state, r.things, s.state as student, p.state as person from cases.record r"
        " join cases.student s on s.id = r.student_id, cases.person p"
        " where r.id = $1 and p.id = $2",
        target.case_id,
        target.reader.person_id,
    )
    assert row is not None
    policy = engine.load()
    record, student = decode_record(row["state"], row["things"]), decode_student(row["student"])
    now = datetime.now(UTC)
    assignments = [a for a in decode_person(row["person"]).assignments if a.in_force(now)]
    facts = Judge(policy).facts
    standing = [(a, facts(record, student, a)) for a in assignments]
    best, bits = max(standing, key=lambda one: one[1].bit_count())
    names = " ".join(name for name, bit in policy.facts.items() if bits & bit)
    return {
        "record_id": target.case_id,
        "person_id": target.reader.person_id,
        "role": best.role.value,
        "facts": f"{names} {_THINGS}".strip(),
    }
