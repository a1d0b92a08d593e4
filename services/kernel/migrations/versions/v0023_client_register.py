"""Whose a service client is, and clients that have a public key and no secret.

Nothing is folded anew: every client registered so far is nobody's in particular and has a secret.
"""

from services.kernel.migrations.script import run

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    run(
        "alter table authz.client alter column secret drop not null;"
        " alter table authz.client add column organisation_id uuid;"
    )
    for schema in ("authz", "cases", "audit"):
        run(f"alter table {schema}.service_client add column organisation_id uuid")


def downgrade() -> None:
    """Refuse: migrations expand before they contract."""
    raise NotImplementedError
