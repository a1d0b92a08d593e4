"""``log.append`` reads what it indexes from the body, and refuses a body that is not an event.

A fact that was set aside leaves ``log.fact``; nothing else leaves it, and nothing changes there.
A once-key belongs to the role that holds it. No role but the owner takes an advisory lock by
itself.
The former function is gone at once: services of the former version answer 503 until they are
replaced.
"""

from importlib.resources import files

from services.kernel.migrations.script import run

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_ROLES = "casewarden_authz, casewarden_cases, casewarden_audit"
_FORMER = (
    "uuid[], text[], bytea[], int[], text[], int[], bigint[], timestamptz[],"
    " int[], bigint[], int[], bigint[], int[], bytea[]"
)
_ONCE = """
alter table log.once add column role name;
alter table log.once disable trigger append_only;
update log.once o set role = t.role
from log.event e join log.event_type t on t.name = e.type where e.position = o.position;
alter table log.once enable trigger append_only;
alter table log.once alter column role set not null;
alter table log.once drop constraint once_pkey, add primary key (key, role);
"""
_ASIDE = """
create function log.refuse_fact() returns trigger language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
    if tg_op = 'DELETE' and exists (
        select from log.fact where stream = 'position:' || old.position::text
    ) then
        return old;
    end if;
    raise exception 'the log is append-only: % refused', tg_op
        using errcode = 'insufficient_privilege';
end $$;
drop trigger append_only on log.fact;
create trigger append_only before update or delete on log.fact
    for each row execute function log.refuse_fact();
revoke execute on function log.refuse_fact from public;
"""
# Functions of the system belong to the superuser: an owner who is none leaves them as they are.
_LOCKS = """
do $$
declare
    lock regprocedure;
begin
    for lock in
        select oid from pg_proc where pronamespace = 'pg_catalog'::regnamespace
        and proname ~ '^pg_(try_)?advisory_(xact_)?lock(_shared)?$'
    loop
        execute format('grant execute on function %s to %I', lock, current_user);
        execute format('revoke execute on function %s from public', lock);
    end loop;
exception when insufficient_privilege then
    raise warning 'advisory locks stay open to every role: only a superuser can close them';
end $$;
"""


def upgrade() -> None:
    """Replace the function, name the holders of once-keys, close the advisory locks."""
    run(_ONCE)
    run(f"drop function if exists log.append({_FORMER})")
    run((files("services.kernel.migrations") / "append.sql").read_text())
    run("revoke execute on function log.append from public")
    run(f"grant execute on function log.append to {_ROLES}")
    run(_ASIDE)
    run(_LOCKS)


def downgrade() -> None:
    """Refuse: the log only grows."""
    raise NotImplementedError
