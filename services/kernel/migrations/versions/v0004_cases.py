"""What cases folds: learners, requests and cases, with the columns that relations speak of."""

from services.kernel.migrations.script import run

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TABLES = """
create table cases.student (
    id uuid primary key,
    school_id uuid,
    state bytea not null
);
create index student_school on cases.student (school_id);
create table cases.student_token (
    token text not null,
    student_id uuid not null,
    primary key (token, student_id)
);
create table cases.record (
    id uuid primary key,
    kind text not null,
    status text not null,
    student_id uuid not null,
    school_id uuid not null,
    provider_id uuid,
    made_by uuid not null,
    made_at uuid not null,
    case_manager uuid,
    primary_contact uuid,
    team uuid[] not null,
    submitted boolean not null,
    notified boolean not null,
    created_at timestamptz not null,
    number text not null unique,
    people uuid[] not null,
    organisations uuid[] not null,
    state bytea not null
);
alter table cases.record alter column state set storage external;
create index record_student on cases.record (student_id);
create index record_school on cases.record (school_id, kind, created_at desc, id desc);
create index record_provider on cases.record (provider_id, kind, created_at desc, id desc);
create index record_made_by on cases.record (made_by, kind, created_at desc, id desc);
create index record_made_at on cases.record (made_at, kind, created_at desc, id desc);
create index record_manager on cases.record (case_manager, kind, created_at desc, id desc);
create index record_contact on cases.record (primary_contact, kind, created_at desc, id desc);
create index record_submitted on cases.record (kind, created_at desc, id desc) where submitted;
create index record_team on cases.record using gin (team);
insert into cases.projection (name) values ('cases.records');
"""


def upgrade() -> None:
    """Create the tables."""
    run(_TABLES)


def downgrade() -> None:
    """Refuse: migrations expand before they contract."""
    raise NotImplementedError
