"""Who is calling authz about themselves: the person, their session, and the position of both."""

from typing import Final, NamedTuple

from services.authz.directory import CALLER_COLUMNS, Caller, caller_joins, caller_of
from services.authz.login_views import AT, Session, session_columns, session_of
from services.authz.visits import Visit
from services.kernel.events import Actor
from services.kernel.runtime import Runtime
from services.kernel.wholeness import NotSignedIn

_CALLER: Final = (
    f"select {AT}, {CALLER_COLUMNS}, {session_columns('l')}"
    f" from (values (1)) one {caller_joins('authz', '$1', '$2')}"
    " left join authz.login_session l on l.id = s.id"
)


class Called(NamedTuple):
    """A caller, the session they call in, and the position both were read at."""

    caller: Caller
    session: Session
    at: int

    @property
    def actor(self) -> Actor:
        """The person, for the organisation of their first assignment in force."""
        return Actor(person_id=self.caller.person.id, organisation_id=self.caller.organisation_id)


async def called(runtime: Runtime, visit: Visit) -> Called:
    """Return who is calling; raise :class:`NotSignedIn` without a live session.

    Also where one projection has the session and another, which is folded anew, has not.
    """
    now = runtime.effects.now()
    row = await runtime.pool.fetchrow(_CALLER, visit.person_id, visit.session_id)
    assert row is not None  # noqa: S101 - everything is joined to one row
    caller = caller_of(row, visit.session_id, visit.expires_at, now)
    if caller is None or row["id"] is None:
        raise NotSignedIn(row["at"])
    return Called(caller, session_of(row), row["at"])
