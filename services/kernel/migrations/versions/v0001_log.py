"""The append-only log, and a database role for each service."""

from importlib.resources import files

from services.kernel.migrations.script import run

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_SERVICES = ("authz", "cases", "audit")


def upgrade() -> None:
    """Create schema ``log``; let each role append and read, and nothing else."""
    run((files("services.kernel.migrations") / "log.sql").read_text())
    roles = ", ".join(f"casewarden_{service}" for service in _SERVICES)
    run(f"grant usage on schema log to {roles}")
    run(f"grant select on log.event, log.event_id, log.fact, log.once to {roles}")
    run("revoke execute on all functions in schema log from public")
    run(f"grant execute on function log.make_partitions to {roles}")
    for service in _SERVICES:
        run(f"create schema {service}")
        run(f"grant usage on schema {service} to casewarden_{service}")
        run(
            f"alter default privileges in schema {service}"
            f" grant select, insert, update, delete on tables to casewarden_{service}"
        )
        run(
            f"create table {service}.projection ("
            " name text primary key, position bigint not null default -1)"
        )


def downgrade() -> None:
    """Refuse: the log only grows."""
    raise NotImplementedError
