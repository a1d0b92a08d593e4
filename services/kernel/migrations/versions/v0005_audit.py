"""What audit folds: an index of every event, sessions, detection's memory, and alerts."""

from services.kernel.migrations.script import run

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# audit.event holds what questions are asked by, and no more: the event itself is log.event's body
# at the same position. Every index ends in position, so that newest first is a backward scan.
_TABLES = """
create table audit.event (
    position bigint primary key,
    recorded_at timestamptz not null,
    actor_id uuid,
    client_id text,
    actor_organisation_id uuid,
    organisation_id uuid,
    session_id uuid,
    type text not null,
    action text not null,
    outcome text not null,
    object_type text,
    object_id text
);
create index event_recorded on audit.event using brin (recorded_at);
create index event_actor on audit.event (actor_id, position) where actor_id is not null;
create index event_client on audit.event (client_id, position) where client_id is not null;
create index event_actor_organisation on audit.event (actor_organisation_id, position)
    where actor_organisation_id is not null;
create index event_organisation on audit.event (organisation_id, position)
    where organisation_id is not null;
create index event_session on audit.event (session_id, position) where session_id is not null;
create index event_type on audit.event (type, position);
create index event_action on audit.event (action, position);
create index event_outcome on audit.event (outcome, position) where outcome <> 'allowed';
create index event_object on audit.event (object_id, position) where object_id is not null;

-- Which learners an event is about: its own, and each one a list or search showed.
create table audit.event_student (
    student_id uuid not null,
    position bigint not null,
    primary key (student_id, position)
);

create table audit.login_session (
    id uuid primary key,
    position bigint not null unique,
    person_id uuid not null,
    organisation_id uuid,
    started_at timestamptz not null,
    expires_at timestamptz not null,
    ended_at timestamptz,
    end_reason text
);
create index login_session_person on audit.login_session (person_id, position);

-- Detection: the rules' memory as of a position, the hours it decided by, and what it found.
create table audit.detection_state (
    name text primary key,
    position bigint not null,
    state bytea not null
);
create table audit.detection_hours (
    organisation_id uuid primary key,
    kind text not null,
    time_zone text not null,
    holiday_subdivision text
);
create table audit.finding (
    key text not null,
    ordinal int not null,
    position bigint not null,
    finding bytea not null,
    primary key (key, ordinal)
);

create table audit.alert (
    id uuid primary key,
    position bigint not null unique,
    key text not null unique,
    rule text not null,
    status text not null,
    told int not null,
    person_id uuid,
    organisation_id uuid,
    state bytea not null
);
create index alert_open on audit.alert (rule) where status = 'open';
create index alert_person on audit.alert (person_id, position) where person_id is not null;

insert into audit.projection (name) values
    ('audit.events'), ('audit.sessions'), ('audit.detection'), ('audit.alerts');
"""


def upgrade() -> None:
    """Create audit's tables."""
    run(_TABLES)


def downgrade() -> None:
    """Refuse: migrations expand before they contract."""
    raise NotImplementedError
