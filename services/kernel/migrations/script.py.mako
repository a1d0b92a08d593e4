"""${message}."""

from services.kernel.migrations.script import run

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""


def downgrade() -> None:
    """Refuse: the log only grows, and migrations expand before they contract."""
    raise NotImplementedError
