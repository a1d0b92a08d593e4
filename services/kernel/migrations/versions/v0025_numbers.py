"""Two records may have one number: it is drawn from 49 random bits, and no index holds it.

A read model that insisted on it would stop its fold, and the service with it, when chance makes
two alike. What names a record is its id.
"""

from services.kernel.migrations.script import run

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Drop the constraint."""
    run("alter table cases.record drop constraint record_number_key")


def downgrade() -> None:
    """Refuse: migrations expand before they contract."""
    raise NotImplementedError
