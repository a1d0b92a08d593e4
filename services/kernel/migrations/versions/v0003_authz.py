"""authz's own tables: accounts, sessions, clients (projections); throttles and pending enrolments.

``account``, ``login_session``, ``refresh_token`` and ``client`` are folded from the log and can be
rebuilt. ``signing_secret``, ``enrolment``, ``throttle`` and ``known_address`` are not: losing them
costs a new signing key, an enrolment begun again, and counters.
"""

from services.kernel.migrations.script import run

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TABLES = """
create table authz.account (
    person_id uuid primary key,
    username_digest text not null,
    username text not null,
    username_event uuid not null,
    password text,
    password_event uuid,
    totp text,
    totp_event uuid,
    totp_step bigint not null default -1,
    recovery text,
    recovery_event uuid,
    invitation_digest text,
    invitation_expires_at timestamptz,
    suspended boolean not null default false
);
create index account_username on authz.account (username_digest);
create index account_invitation on authz.account (invitation_digest);
create table authz.login_session (
    id uuid primary key,
    person_id uuid not null,
    organisation_id uuid,
    version int not null,
    started_at timestamptz not null,
    refreshed_at timestamptz not null,
    expires_at timestamptz not null,
    started_position bigint not null,
    ended_at timestamptz,
    ended_position bigint
);
create index login_session_person on authz.login_session (person_id, started_position);
create index login_session_live on authz.login_session (refreshed_at) where ended_at is null;
create table authz.refresh_token (
    digest text primary key,
    session_id uuid not null,
    version int not null
);
create index refresh_token_session on authz.refresh_token (session_id);
create table authz.client (
    client_id text primary key,
    event_id uuid not null,
    version int not null,
    scopes text[] not null,
    secret text not null,
    public_key text,
    revoked_at timestamptz
);
insert into authz.projection (name) values ('authz.login');

create table authz.signing_secret (
    kid text primary key,
    event_id uuid not null,
    sealed text not null
);
create table authz.enrolment (
    invitation_digest text primary key,
    id uuid not null,
    password text not null,
    secret text not null,
    begun_at timestamptz not null
);
create table authz.throttle (
    key bytea primary key,
    failures int not null,
    started_at timestamptz not null,
    last_at timestamptz not null,
    blocked_until timestamptz
);
create index throttle_age on authz.throttle (last_at);
create table authz.known_address (
    key bytea primary key,
    last_at timestamptz not null
);
"""


def upgrade() -> None:
    """Create authz's tables."""
    run(_TABLES)


def downgrade() -> None:
    """Refuse: migrations expand before they contract."""
    raise NotImplementedError
