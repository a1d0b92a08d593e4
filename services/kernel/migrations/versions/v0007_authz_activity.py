"""Who did what, thinly: the positions of the events each person is the actor of (AC-SEE-22)."""

from services.kernel.migrations.script import run

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_TABLES = """
create table authz.activity (
    person_id uuid not null,
    position bigint not null,
    primary key (person_id, position)
);
insert into authz.projection (name) values ('authz.activity');
"""


def upgrade() -> None:
    """Create the table of the projection ``authz.activity``."""
    run(_TABLES)


def downgrade() -> None:
    """Refuse: migrations expand before they contract."""
    raise NotImplementedError
