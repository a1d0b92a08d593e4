"""What administration folds: leaders' access decisions, and for whom a person was registered."""

from services.kernel.migrations.script import run

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_TABLES = """
create table authz.access_decision (
    id uuid primary key,
    person_id uuid not null,
    role text not null,
    organisation_id uuid not null,
    change text not null,
    expires_at timestamptz not null,
    decided_by uuid not null,
    decided_as uuid not null,
    served boolean not null default false
);
create table authz.person_home (
    person_id uuid primary key,
    organisation_id uuid not null
);
insert into authz.projection (name) values ('authz.administration');
"""


def upgrade() -> None:
    """Create the tables of the projection ``authz.administration``."""
    run(_TABLES)


def downgrade() -> None:
    """Refuse: migrations expand before they contract."""
    raise NotImplementedError
