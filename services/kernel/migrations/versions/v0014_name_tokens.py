"""What learners are found by, made from their sealed names, and what stands in for the missing.

A learner whose tokens are of an older epoch (at first: of none) is still to be made findable.
``uuid_hash_extended`` orders learners and records by chance, and stays the same over versions of
PostgreSQL, which partition tables by it.
"""

from services.kernel.migrations.script import run

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_TABLES = """
drop table cases.student_token;
alter table cases.student
    add column name_epoch int not null default 0,
    add column name_tokens int[] not null default '{}';
create index student_name_epoch on cases.student (name_epoch);
create index student_drawn on cases.student (uuid_hash_extended(id, 0));
create index record_drawn on cases.record (uuid_hash_extended(id, 0));
"""


def upgrade() -> None:
    """Drop the tokens that came out of events, and make room for those that do not."""
    run(_TABLES)


def downgrade() -> None:
    """Refuse: migrations expand before they contract."""
    raise NotImplementedError
