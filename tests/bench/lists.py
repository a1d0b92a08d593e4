"""A page of fifty cases with 500 and with 50,000 records in the table, the same ones visible."""

import asyncio
from collections import Counter
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from services.demo.region import Region
from services.kernel.database import Server
from services.kernel.runtime import Installation
from tests.bench import place, serving
from tests.bench.results import Results, middle

_RECORDS: Final = 50_000
_PATH: Final = "/cases/v1/cases?limit=50"
_CONNECTIONS: Final = 4
#: copies of what is there, of learners, schools, providers and people nobody has heard of
_MORE: Final = """
create temporary table copied as
    select r.*, gen_random_uuid() as new_id, gen_random_uuid() as new_student,
        (array(select gen_random_uuid() from generate_series(1, 200)))[1 + floor(random() * 200)]
            as school
    from cases.record r
    cross join generate_series(1, (select $1 / count(*) + 1 from cases.record)) limit $1;
"""
_STUDENTS: Final = """
insert into cases.student (id, school_id, state)
    select c.new_student, c.school, s.state
    from copied c join cases.student s on s.id = c.student_id
"""
_RECORDS_SQL: Final = """
insert into cases.record select new_id, kind, status, new_student, school,
    case when provider_id is not null then gen_random_uuid() end, gen_random_uuid(), school,
    case when case_manager is not null then gen_random_uuid() end,
    case when primary_contact is not null then gen_random_uuid() end, '{}', submitted, notified,
    created_at + random() * interval '30 days', new_id::text, people, organisations, state, things
from copied
"""


def measure(results: Results, installation: Installation, made: Region, *, quick: bool) -> None:
    """Measure both into ``results``; the cases service must not be running."""
    large = _at(installation, "casewarden_large")
    asyncio.run(_enlarge(installation, large))
    busiest = Counter(case.provider_id for case in made.cases).most_common(1)[0][0]
    readers = [
        person.person_id
        for person in made.people
        if any(
            a.role == "asp_workflow_lead" and a.organisation_id == busiest and (a.until is None)
            for a in person.assignments
        )
    ][:2]
    tokens = {}
    for name, where in (("500", installation), ("50000", large)):
        signed, _ = asyncio.run(place.sign_in(where, readers))
        tokens[name] = [serving.request(_PATH, one.token) for one in signed.values()]
    rates: dict[str, list[float]] = {"500": [], "50000": []}
    with (
        serving.casewarden(installation, "cases") as few,
        serving.casewarden(large, "cases") as many,
    ):
        for number in range((3 if quick else 7) + 1):
            for name, side in (("500", few), ("50000", many)):
                seen = side.load(tokens[name], _CONNECTIONS, 0.8 if quick else 1.5)
                if seen.failed:
                    raise RuntimeError(f"{name}: {seen.failed} requests failed")
                if number:
                    rates[name].append(seen.rate)
    print("list: a page of fifty")
    results.ratio("list_500_vs_50000", middle(rates["50000"]), middle(rates["500"]), "lists/s")


def _at(installation: Installation, database: str) -> Installation:
    parts = urlsplit(installation.server.url)
    url = urlunsplit(parts._replace(path=f"/{database}"))
    server = Server.of(url, installation.server.keys_url)
    return Installation(server, installation.data, installation.effects)


async def _enlarge(installation: Installation, large: Installation) -> None:
    """Copy the database and fill the copy's table."""
    owner = await asyncpg.connect(
        urlunsplit(urlsplit(installation.server.url)._replace(path="/postgres"))
    )
    name = urlsplit(large.server.url).path[1:]
    await owner.execute(f"create database {name} template casewarden")
    await owner.close()
    owner = await asyncpg.connect(large.server.url)
    try:
        have = await owner.fetchval("select count(*) from cases.record")
        await owner.execute(_MORE.replace("$1", str(_RECORDS - have)))
        await owner.execute(_STUDENTS)
        await owner.execute(_RECORDS_SQL)
        await owner.execute("analyze cases.record")
        await owner.execute("analyze cases.student")
    finally:
        await owner.close()
    small = await asyncpg.connect(installation.server.url)
    await small.execute("analyze cases.record")
    await small.execute("analyze cases.student")
    await small.close()
