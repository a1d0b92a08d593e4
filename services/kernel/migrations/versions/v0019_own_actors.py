"""What an organisation's own auditors find by who acted: those who acted for it, and no others.

In ``audit.organisation_event`` whoever acted for another organisation is nobody, and their session
none. Alerts are folded again: who is named to the own organisation has a column of its own.
"""

from services.kernel.migrations.script import run

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_EVENTS = r"""
alter table audit.organisation_event
    add column session_id uuid,
    alter column session_id set statistics 0;
update audit.organisation_event o set session_id = e.session_id
    from audit.event e where e.position = o.position and e.session_id is not null;
update audit.organisation_event o set actor_id = null, client_id = null, session_id = null
    from log.event l where l.position = o.position
    and (o.actor_id is not null or o.client_id is not null or o.session_id is not null)
    and (substr(convert_from(l.body, 'UTF8'), strpos(convert_from(l.body, 'UTF8'), E'\n') + 1)::json
        #>> '{actor,organisation_id}') is distinct from o.organisation_id::text;
create index organisation_event_session on audit.organisation_event
    (organisation_id, session_id, position) where session_id is not null;
"""
_ALERTS = """
alter table audit.alert add column own_person_id uuid;
drop index audit.alert_own;
create index alert_own on audit.alert ((organisation_id::text || own_person_id::text), position);
delete from audit.alert;
update audit.projection set position = -1 where name = 'audit.alerts';
"""


def upgrade() -> None:
    """Forget who acted for others, and empty what is folded again when audit next starts."""
    run(_EVENTS)
    run(_ALERTS)


def downgrade() -> None:
    """Refuse: migrations expand before they contract."""
    raise NotImplementedError
