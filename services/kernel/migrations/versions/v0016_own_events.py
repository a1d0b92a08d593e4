"""What an organisation's own auditors are answered from: rows of that organisation, and no others.

``audit.organisation_event`` has a row for each event and organisation that acted in it or that it
belongs to. Every index leads with the organisation, or with organisation and id as one value, so
that an id which is much used elsewhere costs what one costs that does not exist. Of what is asked
by there, no statistics are kept: a plan must not depend on what is frequent elsewhere either.

``audit.event`` is left to those who see every organisation and loses the columns of organisations.
A version from before that still folds stops at their absence, and leaves no event out of the table
that it does not know.
"""

from services.kernel.migrations.script import run

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_TABLES = """
create table audit.organisation_event (
    organisation_id uuid not null,
    position bigint not null,
    recorded_at timestamptz not null,
    actor_id uuid,
    client_id text,
    type text not null,
    action text not null,
    outcome text not null,
    object_type text,
    object_id text,
    primary key (organisation_id, position)
);
alter table audit.organisation_event
    alter column actor_id set statistics 0,
    alter column client_id set statistics 0,
    alter column object_id set statistics 0;
alter table audit.organisation_student alter column student_id set statistics 0;
insert into audit.organisation_event
    select distinct o.id, e.position, e.recorded_at, e.actor_id, e.client_id, e.type, e.action,
        e.outcome, e.object_type, e.object_id
    from audit.event e
        cross join lateral (values (e.actor_organisation_id), (e.organisation_id)) o(id)
    where o.id is not null;
create index organisation_event_actor on audit.organisation_event
    (organisation_id, actor_id, position) where actor_id is not null;
create index organisation_event_client on audit.organisation_event
    (organisation_id, client_id, position) where client_id is not null;
create index organisation_event_type on audit.organisation_event (organisation_id, type, position);
create index organisation_event_action on audit.organisation_event
    (organisation_id, action, position);
create index organisation_event_outcome on audit.organisation_event
    (organisation_id, outcome, position) where outcome <> 'allowed';
create index organisation_event_object on audit.organisation_event
    (organisation_id, object_id, position) where object_id is not null;
alter table audit.event drop column actor_organisation_id, drop column organisation_id;

create index login_session_organisation on audit.login_session (organisation_id, position);
create index alert_organisation on audit.alert (organisation_id, position);
create index alert_own on audit.alert ((organisation_id::text || person_id::text), position);
create index alert_own_id on audit.alert ((organisation_id::text || id::text));
create index assignment_own on audit.assignment ((organisation_id::text || person_id::text));
"""


def upgrade() -> None:
    """Create the table, filled from the index of events there is, and the indexes."""
    run(_TABLES)


def downgrade() -> None:
    """Refuse: migrations expand before they contract."""
    raise NotImplementedError
