"""The services' database roles: whose they are on this server, their passwords and their defaults.

Roles belong to a whole server, databases do not: were two installations migrated on one server, the
second would take the roles from the first, and open its databases with them. So each role carries a
comment that begins with a fingerprint of the secret its password is derived from, and whoever has
another secret takes only roles that open no database but its own, or when told to. No service's
role can change a comment, its own included.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final

from services.kernel.database import role_name
from services.kernel.events import Service

if TYPE_CHECKING:
    from collections.abc import Collection

    import asyncpg

ROLES: Final = tuple(role_name(service) for service in Service)
_MARK: Final = "casewarden "
_COMMENTS: Final = (
    "select shobj_description(oid, 'pg_authid') from pg_roles where rolname = any($1)"
)
#: databases that roles were granted anything in, or are let into by name
_OPENED: Final = """
    select distinct d.datname from pg_shdepend s
    join pg_roles r on s.refclassid = 'pg_authid'::regclass and s.refobjid = r.oid
    join pg_database d
        on d.oid = case s.classid when 'pg_database'::regclass then s.objid else s.dbid end
    where r.rolname = any($1) and d.datname <> all($2) order by 1
"""
_ADMIT: Final = """
    do $$ begin
        execute format('grant connect on database %I to {roles}', current_database());
        if has_database_privilege('public', current_database(), 'connect') then
            execute format('revoke connect on database %I from public', current_database());
        end if;
    exception when insufficient_privilege then
        raise warning 'every role may connect: only the database''s owner can change that';
    end $$
"""


class ForeignRoles(Exception):  # noqa: N818 - a state of the world
    """The services' roles of this server are another installation's, which these databases tell."""

    def __init__(self, databases: Collection[str]) -> None:
        super().__init__(", ".join(databases))
        self.databases = tuple(databases)


def role_password(secret: bytes, service: Service) -> str:
    """Return the database password of a service's role, derived from the installation's secret."""
    return hmac.new(secret, b"database role " + service.encode(), hashlib.sha256).hexdigest()


def fingerprint(secret: bytes) -> bytes:
    """Return what the database keeps to know an installation by; says nothing of its secret."""
    return hmac.new(secret, b"installation", hashlib.sha256).digest()


def mark(secret: bytes) -> str:
    """Return what the comments of an installation's roles begin with; more may follow it."""
    return f"{_MARK}{fingerprint(secret).hex()}"


async def are_marked(connection: asyncpg.Connection, secret: bytes) -> bool:
    """Say whether every service has its role on this server, and each is this installation's."""
    return _ours(await _comments(connection), secret)


async def recognise_roles(
    connection: asyncpg.Connection, secret: bytes, own: Collection[str]
) -> None:
    """Raise :class:`ForeignRoles` for roles that somebody else on this server lives by.

    With another's mark they are somebody else's when they open any database, though it be of a name
    among ``own``; without one, as before there were marks, when they open another than those. Those
    of an installation whose databases are gone are nobody's.
    """
    comments = await _comments(connection)
    if _ours(comments, secret):
        return
    marked = any(comment.startswith(_MARK) for comment in comments)
    opened = await connection.fetch(_OPENED, ROLES, [] if marked else list(own))
    if opened:
        raise ForeignRoles([row["datname"] for row in opened])


async def _comments(connection: asyncpg.Connection) -> list[str]:
    return [row[0] or "" for row in await connection.fetch(_COMMENTS, ROLES)]


def _ours(comments: Collection[str], secret: bytes) -> bool:
    return len(comments) == len(ROLES) and all(c.startswith(mark(secret)) for c in comments)


async def claim_roles(
    connection: asyncpg.Connection, secret: bytes, own: Collection[str], *, take: bool = False
) -> None:
    """Make the roles, ours, with our passwords; let them, and no other, into this database.

    All of it or nothing. Raises :class:`ForeignRoles` as :func:`recognise_roles` does, unless they
    are to be taken (``take``): of two that make roles at once on a new server the second is told.
    """
    async with connection.transaction():
        for role in ROLES:
            await connection.execute(
                f"do $$ begin create role {role} login; exception when duplicate_object then null;"
                " when unique_violation then null; end $$"
            )
        if not take:
            await recognise_roles(connection, secret, own)
        marked = await are_marked(connection, secret)
        for service in Service:
            role = role_name(service)
            await connection.execute(
                f"alter role {role} password '{role_password(secret, service)}'"
            )
            if not marked:
                await connection.execute(f"comment on role {role} is '{mark(secret)}'")
        await connection.execute(_ADMIT.format(roles=", ".join(ROLES)))


async def reset_roles(connection: asyncpg.Connection) -> None:
    """Take back every default that the services' roles were given, by themselves or by anybody.

    A role may set its own, and each later session of that service would begin with them.
    """
    given = await connection.fetch(
        "select r.rolname, coalesce(' in database ' || quote_ident(d.datname), '') as of_one"
        " from pg_db_role_setting s join pg_roles r on r.oid = s.setrole"
        " left join pg_database d on d.oid = s.setdatabase where r.rolname = any($1)",
        ROLES,
    )
    for role, of_one in given:
        await connection.execute(f"alter role {role}{of_one} reset all")
