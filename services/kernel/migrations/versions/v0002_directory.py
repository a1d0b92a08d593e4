"""The directory: people, assignments, organisations, catchments and sessions, in each schema.

Every service folds authz's facts into tables of its own (they share the log and nothing else).
"""

from services.kernel.migrations.script import run

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TABLES = """
create table {s}.person (
    id uuid primary key,
    state bytea not null
);
create table {s}.assignment (
    id uuid primary key,
    person_id uuid not null,
    role text not null,
    organisation_id uuid not null,
    starts_at timestamptz not null,
    ends_at timestamptz,
    revoked boolean not null
);
create index assignment_person on {s}.assignment (person_id);
create index assignment_organisation on {s}.assignment (organisation_id, role);
create table {s}.organisation (
    id uuid primary key,
    kind text not null,
    state bytea not null
);
create table {s}.catchment (
    school_id uuid not null,
    provider_id uuid not null,
    starts_at timestamptz not null,
    ends_at timestamptz,
    primary key (school_id, provider_id, starts_at)
);
create table {s}.session (
    id uuid primary key,
    person_id uuid not null,
    expires_at timestamptz not null,
    ended_at timestamptz
);
create table {s}.signing_key (
    kid text primary key,
    public_key bytea not null,
    retired_at timestamptz
);
insert into {s}.projection (name) values ('{s}.directory');
"""


def upgrade() -> None:
    """Create the directory's tables in each service's schema."""
    for schema in ("authz", "cases", "audit"):
        run(_TABLES.format(s=schema))


def downgrade() -> None:
    """Refuse: migrations expand before they contract."""
    raise NotImplementedError
