"""Whose database it is, and which grant of a leader's or lead's post an administrator takes back.

``log.installation`` tells a process that starts whether its secrets are those the database was
migrated with, and whether it is behind; each role reads it, and the names of event types.
``authz.first_lead`` is folded (AC-DO-16): administration is folded anew, for the grants there are.
"""

from services.kernel.migrations.script import run

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_ROLES = "casewarden_authz, casewarden_cases, casewarden_audit"
_TABLES = f"""
create table log.installation (
    one boolean primary key default true check (one),
    fingerprint bytea not null,
    revision text not null
);
grant select on log.installation to {_ROLES};
grant select (name) on log.event_type to {_ROLES};

create table authz.first_lead (
    organisation_id uuid primary key,
    assignment_id uuid not null
);
delete from authz.access_decision;
delete from authz.person_home;
delete from authz.credential_reset;
update authz.projection set position = -1 where name = 'authz.administration';
"""


def upgrade() -> None:
    """Create the tables, and have administration folded again."""
    run(_TABLES)


def downgrade() -> None:
    """Refuse: migrations expand before they contract."""
    raise NotImplementedError
