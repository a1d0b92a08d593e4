"""The decision engine: Casbin holds the policy, and its rows are compiled to exact masks.

A *fact* is a boolean about one assignment and what it acts upon; each fact named by a row is one
bit. A row allows when every fact it needs holds. Compiled, a row is a mask, and a question is an
``and`` over the rows of its role, action and object: the same answer as Casbin's enforcer gives
(tested for every row and combination), without its cost.

Pure: no clock, no I/O after :func:`load`. Refuses to exist without rows (Casbin without policy
allows everything), and never allows an empty term.
"""

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.resources import as_file, files
from typing import Final, NamedTuple

import casbin

_SPACE: Final = " "
ANY_ROLE: Final = "*"


class BadPolicy(Exception):  # noqa: N818 - a state of the policy
    """The policy cannot be served: it is empty, or a row is not well formed."""


class Row(NamedTuple):
    """One row of the role matrix."""

    clause: str
    role: str
    action: str
    object: str
    needs: tuple[str, ...]


class Policy:
    """A compiled policy. Immutable."""

    def __init__(self, rows: Iterable[Row], source: bytes = b"") -> None:
        self.rows = tuple(rows)
        if not self.rows:
            raise BadPolicy("the policy has no rows")
        for row in self.rows:
            if not all(row[:4]) or not row.needs or not all(row.needs):
                raise BadPolicy(f"an empty term in {row}")
        self.version = hashlib.sha256(source or repr(self.rows).encode()).hexdigest()[:16]
        names = sorted({name for row in self.rows for name in row.needs})
        #: the bit of each fact that a row names
        self.facts: Mapping[str, int] = {name: 1 << i for i, name in enumerate(names)}
        self._single: dict[tuple[str, str, str], tuple[tuple[int, str], ...]] = {}
        self._parts: dict[tuple[str, str, str], tuple[tuple[int, str, str], ...]] = {}
        self._compile()

    def _compile(self) -> None:
        roles = {row.role for row in self.rows} - {ANY_ROLE}
        single: dict[tuple[str, str, str], list[tuple[int, str]]] = {}
        parts: dict[tuple[str, str, str], list[tuple[int, str, str]]] = {}
        for row in self.rows:
            mask = self.bits(row.needs)
            kind, _, part = row.object.partition(".")
            for role in roles | {ANY_ROLE} if row.role == ANY_ROLE else {row.role}:
                single.setdefault((role, row.action, row.object), []).append((mask, row.clause))
                if part:
                    named = (mask, part, row.clause)
                    parts.setdefault((role, row.action, kind), []).append(named)
        self._single = {key: tuple(value) for key, value in single.items()}
        self._parts = {key: tuple(value) for key, value in parts.items()}

    def bits(self, names: Iterable[str]) -> int:
        """Return the mask of the facts called ``names``; raise ``KeyError`` for unknown ones."""
        mask = 0
        for name in names:
            mask |= self.facts[name]
        return mask

    def clause(self, role: str, action: str, object_: str, facts: int) -> str | None:
        """Return the clause that lets ``role`` do ``action`` to ``object_``, or ``None``."""
        rows = self._single.get((role, action, object_))
        if rows is None:
            rows = self._single.get((ANY_ROLE, action, object_), ())
        for mask, clause in rows:
            if facts & mask == mask:
                return clause
        return None

    def parts(self, role: str, action: str, kind: str, facts: int) -> dict[str, str]:
        """Return each part of a ``kind`` that ``role`` may see, with the first clause for it."""
        rows = self._parts.get((role, action, kind))
        if rows is None:
            rows = self._parts.get((ANY_ROLE, action, kind), ())
        found: dict[str, str] = {}
        for mask, part, clause in rows:
            if facts & mask == mask:
                found.setdefault(part, clause)
        return found

    def needs(self, role: str, action: str, kind: str) -> frozenset[frozenset[str]]:
        """Return the sets of facts any one of which lets ``role`` see something of a ``kind``."""
        return frozenset(
            frozenset(row.needs)
            for row in self.rows
            if row.role in (role, ANY_ROLE)
            and row.action == action
            and row.object.partition(".")[0] == kind
        )


def holds(needs: str, facts: str) -> bool:
    """Casbin's view of the same question: every fact that ``needs`` names is among ``facts``."""
    wanted = needs.split(_SPACE)
    return bool(needs) and set(wanted) <= set(facts.split(_SPACE))


def enforcer() -> casbin.Enforcer:
    """Return Casbin's own enforcer over the same files: the meaning that masks must equal."""
    folder = files("services.authz.policy")
    with as_file(folder / "model.conf") as model, as_file(folder / "policy.csv") as policy:
        built = casbin.Enforcer(str(model), str(policy))
    built.add_function("holds", holds)
    return built


@lru_cache(maxsize=1)
def load() -> Policy:
    """Return the policy of this build; raise :class:`BadPolicy` when it cannot be served."""
    folder = files("services.authz.policy")
    source = (folder / "model.conf").read_bytes() + (folder / "policy.csv").read_bytes()
    rows = [
        Row(clause, role, action, object_, tuple(needs.split(_SPACE)))
        for clause, role, action, object_, needs in enforcer().get_policy()
    ]
    return Policy(rows, source)
