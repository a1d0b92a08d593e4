"""What an organisation's own auditors find by learner, and what of detection's memory is new.

``audit.organisation_student`` holds nothing of what was refused, and no row of anybody else's: so
neither what is found nor how long it takes says whether a learner exists elsewhere.
"""

from services.kernel.migrations.script import run

revision = "0013"
down_revision = "0011"
branch_labels = None
depends_on = None

_TABLES = """
create table audit.organisation_student (
    organisation_id uuid not null,
    student_id uuid not null,
    position bigint not null,
    primary key (organisation_id, student_id, position)
);
insert into audit.organisation_student
    select distinct o.id, s.student_id, s.position
    from audit.event_student s join audit.event e using (position)
        cross join lateral (values (e.actor_organisation_id), (e.organisation_id)) o(id)
    where o.id is not null and e.outcome <> 'denied';
create index detection_state_position on audit.detection_state (position);
"""


def upgrade() -> None:
    """Create the table, filled from the index of events there is, and the index."""
    run(_TABLES)


def downgrade() -> None:
    """Refuse: migrations expand before they contract."""
    raise NotImplementedError
