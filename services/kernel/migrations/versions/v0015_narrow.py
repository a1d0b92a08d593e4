"""No role but the owner makes temporary tables or large objects; own auditors find sessions in one.

``login_session_own`` is of organisation and person together: whose sessions an organisation's own
auditor asks for is found, or not, by the same look, wherever else that person has sessions.
"""

from importlib.resources import files

from services.kernel.migrations.script import run

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_INDEX = """
create index login_session_own on audit.login_session
    ((organisation_id::text || person_id::text), position);
"""


def upgrade() -> None:
    """Revoke what every role has by default, and create the index."""
    run((files("services.kernel.migrations") / "narrow.sql").read_text())
    run(_INDEX)


def downgrade() -> None:
    """Refuse: migrations expand before they contract."""
    raise NotImplementedError
