"""What is delivered to whom and where; a person's last passwords; who was reset by which act.

``authz.account`` gains columns, so the logins are folded anew (see 0008). ``delivery_lease`` is not
folded: losing it may deliver a message twice.
"""

from services.kernel.migrations.script import run

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_TABLES = """
alter table authz.account
    add column former text[] not null default '{}',
    add column former_events uuid[] not null default '{}';
delete from authz.account;
delete from authz.login_session;
delete from authz.refresh_token;
delete from authz.client;
update authz.projection set position = -1 where name = 'authz.login';

create table authz.credential_reset (
    act_id uuid not null,
    person_id uuid not null,
    primary key (act_id, person_id)
);
create table authz.address (
    person_id uuid primary key,
    profile text not null,
    event_id uuid not null,
    since timestamptz not null,
    settled text not null,
    settled_event uuid not null,
    enrolled boolean not null default false
);
create table authz.delivery (
    id uuid primary key,
    person_id uuid not null,
    kind text not null,
    organisation_id uuid,
    issued_at timestamptz not null,
    failures int not null default 0,
    next_at timestamptz not null
);
create index delivery_due on authz.delivery (next_at);
create index delivery_person on authz.delivery (person_id);
create table authz.delivery_lease (
    id uuid primary key,
    until timestamptz not null
);
insert into authz.projection (name) values ('authz.deliveries');
"""


def upgrade() -> None:
    """Create the tables of the projection ``authz.deliveries``, and have logins folded again."""
    run(_TABLES)


def downgrade() -> None:
    """Refuse: migrations expand before they contract."""
    raise NotImplementedError
