"""Runs a script of several statements inside a migration's transaction."""

from typing import Any

from alembic import op


def run(sql: str) -> None:
    """Run ``sql``, any number of statements, on the migration's own connection."""
    connection: Any = op.get_bind().connection.dbapi_connection
    connection.run_async(lambda driver: driver.execute(sql))
