"""Which findings are in an alert already, so that nobody looks through all of them for the rest.

What was found before is untold at first: whoever raises alerts marks what an alert holds.
"""

from services.kernel.migrations.script import run

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_TABLES = """
alter table audit.finding add column told boolean not null default false;
create index finding_untold on audit.finding (key, ordinal desc) where not told;
"""


def upgrade() -> None:
    """Add the mark to ``audit.finding``, and an index of what has none."""
    run(_TABLES)


def downgrade() -> None:
    """Refuse: migrations expand before they contract."""
    raise NotImplementedError
