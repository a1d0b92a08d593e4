"""An event about something in a record, an item or a version of a plan, is found under the record.

What was indexed before is filled in from the streams of facts; of what was only seen or refused
nothing said it. A version from before that still folds stops at the new column, and leaves no event
out of what is found by record.
"""

from services.kernel.migrations.script import run

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

_COLUMNS = """
alter table audit.event
    add column record_type text not null default '', add column record_id text;
alter table audit.organisation_event
    add column record_type text not null default '', add column record_id text,
    alter column record_id set statistics 0;
alter table audit.event alter column record_type drop default;
alter table audit.organisation_event alter column record_type drop default;
"""
_FILL = """
update audit.event e
    set record_type = split_part(f.stream, ':', 1),
        record_id = left(substr(f.stream, strpos(f.stream, ':') + 1), 200)
    from log.fact f where f.position = e.position and strpos(f.stream, ':') > 0
    and substr(f.stream, strpos(f.stream, ':') + 1) is distinct from e.object_id;
update audit.organisation_event o set record_type = e.record_type, record_id = e.record_id
    from audit.event e where e.position = o.position and e.record_id is not null
"""
_INDEXES = """
create index event_record on audit.event (record_id, position) where record_id is not null;
create index organisation_event_record on audit.organisation_event
    (organisation_id, record_id, position) where record_id is not null;
"""


def upgrade() -> None:
    """Add the columns, filled from the facts there are, and their indexes."""
    run(_COLUMNS)
    run(_FILL)
    run(_INDEXES)


def downgrade() -> None:
    """Refuse: migrations expand before they contract."""
    raise NotImplementedError
