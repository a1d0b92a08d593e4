"""Service clients in each service's directory, so that whoever answers one knows it still lives.

A projection that gains a table is folded anew: the directory is emptied and begins at the log's
start. Until it has caught up, nobody is let in by it and no answer leaves (guards are compared at
its position).
"""

from services.kernel.migrations.script import run

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_TABLES = """
create table {s}.service_client (
    client_id text primary key,
    scopes text[] not null,
    revoked_at timestamptz
);
delete from {s}.person;
delete from {s}.assignment;
delete from {s}.organisation;
delete from {s}.catchment;
delete from {s}.session;
delete from {s}.signing_key;
update {s}.projection set position = -1 where name = '{s}.directory';
"""


def upgrade() -> None:
    """Create the table in each service's schema, and have the directory folded again."""
    for schema in ("authz", "cases", "audit"):
        run(_TABLES.format(s=schema))


def downgrade() -> None:
    """Refuse: migrations expand before they contract."""
    raise NotImplementedError
