"""Whom an organisation registered is found by the organisation: a list of people asks it."""

from services.kernel.migrations.script import run

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index."""
    run("create index person_home_organisation on authz.person_home (organisation_id)")


def downgrade() -> None:
    """Refuse: migrations expand before they contract."""
    raise NotImplementedError
