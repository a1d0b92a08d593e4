"""Whose the services' roles on a server are: one installation's, and not a second one's."""

import secrets
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from services.kernel.database import Server
from services.kernel.migrate import migrate
from services.kernel.postgres import EmbeddedPostgres
from services.kernel.server_roles import ROLES, ForeignRoles, are_marked, mark, recognise_roles
from tests.conftest import TYPES, embedded_server

FIRST, SECOND = b"1" * 32, b"2" * 32


@pytest.fixture(scope="module")
def postgres() -> Iterator[EmbeddedPostgres]:
    """Start a server whose roles these tests may give to whom they like."""
    with embedded_server() as server:
        server.start()
        yield server


@pytest.fixture
async def owner(postgres: EmbeddedPostgres) -> AsyncIterator[asyncpg.Connection]:
    """Connect as who owns everything there; afterwards no database of a test is left."""
    connection = await asyncpg.connect(postgres.dsn("postgres"))
    yield connection
    for name in await databases(connection):
        await connection.execute(f'drop database "{name}" with (force)')
    await connection.close()


@pytest.fixture
async def first(owner: asyncpg.Connection, postgres: EmbeddedPostgres) -> Server:
    """Migrate the first installation of the server."""
    assert not await databases(owner)
    server = Server.of(postgres.dsn("first"))
    await migrate(server, FIRST, TYPES)
    return server


@pytest.fixture
def second(postgres: EmbeddedPostgres) -> Server:
    """Name the databases of another installation, which are not made yet."""
    return Server.of(postgres.dsn("second"))


async def databases(owner: asyncpg.Connection) -> list[str]:
    rows = await owner.fetch("select datname from pg_database where oid >= 16384 order by 1")
    return [row["datname"] for row in rows if row["datname"] != "postgres"]


async def roles(owner: asyncpg.Connection) -> list[tuple[str, str, str | None]]:
    """Return names, passwords (as they are kept) and comments of the services' roles."""
    query = (
        "select rolname, rolpassword, shobj_description(oid, 'pg_authid') from pg_authid"
        " where rolname = any($1) order by 1"
    )
    return [tuple(row) for row in await owner.fetch(query, ROLES)]


async def unmark(owner: asyncpg.Connection) -> None:
    """Leave the roles as an earlier version did."""
    for role in ROLES:
        await owner.execute(f"comment on role {role} is null")


@pytest.mark.parametrize("marked", [True, False])
async def test_the_roles_of_another_installation_are_taken_only_when_told_to(
    owner: asyncpg.Connection, first: Server, second: Server, *, marked: bool
) -> None:
    """SG-1: with its roles one would open its databases, and its services would stand still."""
    if not marked:
        await unmark(owner)
    before = await roles(owner)
    with pytest.raises(ForeignRoles) as refused:
        await migrate(second, SECOND, TYPES)
    assert refused.value.databases == ("first", "first_keys")
    assert await databases(owner) == ["first", "first_keys"], "not even a database is made"
    assert await roles(owner) == before
    await migrate(second, SECOND, TYPES, take_roles=True)
    after = await roles(owner)
    assert [row[2] for row in after] == [mark(SECOND)] * len(ROLES)
    assert not {row[1] for row in after} & {row[1] for row in before}
    with pytest.raises(ForeignRoles):
        await migrate(first, FIRST, TYPES)


async def test_an_address_may_say_whatever_one_of_postgresql_says(first: Server) -> None:
    """SG-5: else no server could be named with ``sslmode=verify-full``."""
    address = f"{first.url.replace('sslmode=disable', 'sslmode=prefer')}&application_name=owner"
    assert "sslmode=prefer" in address
    await migrate(Server.of(address), FIRST, TYPES)


async def test_roles_without_a_mark_that_open_no_other_database_are_adopted(
    owner: asyncpg.Connection, first: Server
) -> None:
    """An installation of an earlier version goes on, and is marked from then on."""
    await unmark(owner)
    await migrate(first, FIRST, TYPES)
    assert [row[2] for row in await roles(owner)] == [mark(FIRST)] * len(ROLES)


async def test_marked_roles_are_anothers_also_where_their_databases_have_ones_own_names(
    owner: asyncpg.Connection, first: Server
) -> None:
    """A key store of one's own name may be another's, whose log is on another server."""
    assert first.url
    own = ("first", "first_keys")
    with pytest.raises(ForeignRoles) as refused:
        await recognise_roles(owner, SECOND, own)
    assert refused.value.databases == own
    await recognise_roles(owner, FIRST, own)
    await unmark(owner)
    await recognise_roles(owner, SECOND, own)


async def test_roles_of_an_installation_whose_databases_are_gone_are_nobodys(
    owner: asyncpg.Connection, first: Server, second: Server
) -> None:
    """Whoever drops a demonstration and begins anew is asked for nothing."""
    for url in (first.url, first.keys_url):
        await owner.execute(f'drop database "{url.partition("?")[0].rpartition("/")[2]}"')
    await migrate(second, SECOND, TYPES)
    assert await are_marked(owner, SECOND)


async def test_what_an_administrator_adds_to_a_mark_stays(
    owner: asyncpg.Connection, first: Server, postgres: EmbeddedPostgres
) -> None:
    """And with the mark, other databases that the roles open are one's own affair."""
    for role in ROLES:
        await owner.execute(f"comment on role {role} is '{mark(FIRST)}, rotated in May'")
    await migrate(Server.of(postgres.dsn("rehearsal")), FIRST, TYPES)
    await migrate(first, FIRST, TYPES)
    assert {row[2] for row in await roles(owner)} == {f"{mark(FIRST)}, rotated in May"}


async def test_of_two_that_make_the_roles_at_once_the_second_is_refused(
    owner: asyncpg.Connection, first: Server, second: Server
) -> None:
    """Neither finds a table of the other's yet; who is let into a database tells."""
    connection = await asyncpg.connect(first.url)
    await connection.execute(
        "drop schema log, authz, cases, audit cascade; drop table alembic_version"
    )
    await connection.close()
    await owner.execute('drop database "first_keys"')
    with pytest.raises(ForeignRoles) as refused:
        await migrate(second, SECOND, TYPES)
    assert refused.value.databases == ("first",)


async def test_no_role_changes_a_mark_and_no_stranger_connects(
    owner: asyncpg.Connection, first: Server
) -> None:
    """SG-1: a service that is taken over makes the roles nobody else's."""
    await owner.execute("create role stranger login")
    try:
        for url in (first.url, first.keys_url):
            stranger = await asyncpg.connect(first.as_role(url, ROLES[0], "-"))
            for role in ROLES:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await stranger.execute(f"comment on role {role} is 'casewarden'")
            await stranger.close()
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="CONNECT"):
                await asyncpg.connect(first.as_role(url, "stranger", "-"))
    finally:
        await owner.execute("drop role stranger")


async def test_an_owner_who_is_no_superuser_marks_and_adopts(
    owner: asyncpg.Connection, postgres: EmbeddedPostgres
) -> None:
    """The right to create roles and databases is enough, as the README says."""
    await drop_roles(owner)
    await owner.execute("create role plain login createdb createrole")
    server = Server.of(postgres.dsn("plain"))
    server = Server.of(server.as_role(server.url, "plain", "-"))
    try:
        for _ in range(2):
            await migrate(server, FIRST, TYPES)
            assert await are_marked(owner, FIRST)
            await unmark(owner)
    finally:
        for name in await databases(owner):
            await owner.execute(f'drop database "{name}" with (force)')
        await drop_roles(owner)
        await owner.execute("drop role plain")


async def drop_roles(owner: asyncpg.Connection) -> None:
    for role in ROLES:
        await owner.execute(f"drop role if exists {role}")


async def test_a_key_store_on_a_server_of_its_own_has_roles_of_its_own(
    owner: asyncpg.Connection, first: Server
) -> None:
    """The same holds there: refused because of it, nothing is changed on the log's server."""
    assert await databases(owner) == ["first", "first_keys"]
    with embedded_server() as elsewhere:
        elsewhere.start()
        log = Server.of(elsewhere.dsn("log"))
        there = await asyncpg.connect(elsewhere.dsn("postgres"))
        with pytest.raises(ForeignRoles):
            await migrate(Server.of(log.url, first.keys_url), secrets.token_bytes(32), TYPES)
        assert await databases(there) == []
        assert await roles(there) == []
        await migrate(Server.of(first.url, elsewhere.dsn("keys")), FIRST, TYPES)
        assert await are_marked(there, FIRST)
        keys = await asyncpg.connect(log.as_role(elsewhere.dsn("keys"), ROLES[0], "-"))
        assert await keys.fetchval("select count(*) from keys.data_key") == 0
        await keys.close()
        await there.close()
