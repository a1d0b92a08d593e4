"""``log.append`` takes one observation with fewer statements inside.

Its arguments and answers stay as they were: services of the former version go on beside it.
"""

from importlib.resources import files

from services.kernel.migrations.script import run

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Replace the function; who may call it stays as it was."""
    run((files("services.kernel.migrations") / "append.sql").read_text())


def downgrade() -> None:
    """Refuse: the log only grows."""
    raise NotImplementedError
