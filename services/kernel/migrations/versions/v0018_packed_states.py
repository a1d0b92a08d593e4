"""States of people, organisations, learners and records are MessagePack, things of records apart.

All of them are folded again.
"""

from services.kernel.migrations.script import run

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_DIRECTORY = """
delete from {s}.person;
delete from {s}.assignment;
delete from {s}.organisation;
delete from {s}.catchment;
delete from {s}.session;
delete from {s}.signing_key;
delete from {s}.service_client;
update {s}.projection set position = -1 where name = '{s}.directory';
"""
_RECORDS = """
delete from cases.student;
delete from cases.record;
alter table cases.record add column things bytea not null;
alter table cases.record alter column things set storage external;
update cases.projection set position = -1 where name = 'cases.records';
"""


def upgrade() -> None:
    """Empty what is folded again, from the start of the log, when its service next starts."""
    for schema in ("authz", "cases", "audit"):
        run(_DIRECTORY.format(s=schema))
    run(_RECORDS)


def downgrade() -> None:
    """Refuse: migrations expand before they contract."""
    raise NotImplementedError
