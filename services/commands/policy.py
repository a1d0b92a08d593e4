"""``casewarden policy``: the role matrix, readable: who may do what, when, by which clause."""

from __future__ import annotations

from itertools import groupby

import click

from services.authz import engine
from services.installation import UserError


def run(role: str | None) -> None:
    """Print the rows of every role, or of one with those that everybody has."""
    policy = engine.load()
    known = sorted({row.role for row in policy.rows})
    if role is not None and role not in known:
        raise UserError(f"no row of the policy names {role}; it names {', '.join(known)}")
    rows = [row for row in policy.rows if role is None or row.role in (role, engine.ANY_ROLE)]
    rows.sort(key=lambda row: (row.role, row.clause, row.action))
    click.echo(f"policy {policy.version}: {len(policy.rows)} rows")
    for name, of_role in groupby(rows, key=lambda row: row.role):
        click.echo(f"\n{'everybody' if name == engine.ANY_ROLE else name}")
        for row in of_role:
            when = ", ".join(need.replace("_", " ") for need in row.needs)
            click.echo(f"  {row.clause:10} {row.action:20} {row.object:24} {when}")
