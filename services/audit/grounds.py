"""How far who asks the audit log sees, and by which posts: the engine's answer per organisation.

A security analyst or privacy officer at the Ministry sees every organisation, elsewhere only
their own (domain, "Back-office roles"; SG-8, DP-5). A service client with the scope ``audit.read``
reads events while it is registered for it: of its own organisation, or all when it is of none or
of the Ministry. For everybody else there is no scope, and the audit service does not exist.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from services.audit.askers import ClientPrincipal, PersonPrincipal, Principal
from services.audit.events import tells_learner
from services.authz.directory import Caller
from services.authz.engine import Policy
from services.kernel.events import Event, Ground

#: the scope that lets a service client read events, and the fact it is in the policy
AUDIT_READ: Final = "audit.read"
_AUDIT_READ_FACT: Final = "scope_audit_read"
SERVICE_CLIENT: Final = "service_client"


def organisations_of(event: Event) -> set[UUID]:
    """Return the organisations whose own auditors see an event: whose actor's it is, and whose."""
    return {o for o in (event.actor.organisation_id, event.organisation_id) if o is not None}


@dataclass(frozen=True, slots=True)
class Scope:
    """How far an asker sees; ``organisations`` is ``None`` for everywhere.

    A service client's has no grounds, which name assignments, but the clause alone.
    """

    grounds: tuple[Ground, ...]
    organisation_id: UUID | None
    organisations: frozenset[UUID] | None
    #: the position its facts were read at: what is found within it stands there or further
    as_of: int
    clause: str | None = None
    #: of somebody with posts at several organisations: the scope at each, the Ministry's first
    posts: tuple["Scope", ...] = ()

    def apart(self) -> tuple["Scope", ...]:
        """Return the scope at each organisation by itself: each is told what that one shows."""
        return self.posts or (self,)

    def only(self, keeps: Callable[["Scope"], bool]) -> "Scope | None":
        """Return the scope at those organisations alone that ``keeps`` says yes to."""
        return _together(post for post in self.apart() if keeps(post))

    def over(self, organisation: UUID | None) -> "Scope | None":
        """Return the scope of those posts alone that reach what is of an organisation."""
        return self.only(lambda post: post.holds(organisation))

    def at(self, organisation: UUID | None) -> "Scope | None":
        """Return by which post one acts upon what is of an organisation: one there, if any."""
        reaching = [post for post in self.apart() if post.holds(organisation)]
        there = (post for post in reaching if post.organisation_id == organisation)
        return next(there, reaching[0] if reaching else None)

    @property
    def own(self) -> list[UUID] | None:
        """The organisations as a parameter of a query; ``None`` for everywhere."""
        return None if self.organisations is None else sorted(self.organisations)

    @property
    def everywhere(self) -> bool:
        """Whether that is every organisation: the Ministry's scope, or a client's of none."""
        return self.organisations is None

    def holds(self, organisation: UUID | None) -> bool:
        """Say whether something of an organisation is within the scope."""
        return self.organisations is None or organisation in self.organisations

    def covers(self, event: Event) -> bool:
        """Say whether an event is within the scope."""
        return self.everywhere or any(map(self.holds, organisations_of(event)))

    def names_learner(self, event: Event) -> bool:
        """Say whether it is told whom an event was about.

        Of what showed nothing only the Ministry is told that (:func:`tells_learner`).
        """
        return self.everywhere or tells_learner(event)

    def learner_of(self, event: Event) -> UUID | None:
        """Return the learner an event names to who has this scope."""
        return event.student_id if self.names_learner(event) else None

    def names_actor(self, event: Event) -> bool:
        """Say whether who acted is told, and from where, on which of their assignments.

        Elsewhere than at the Ministry only of who acted for an own organisation: what others did to
        it is known, and for whom they did it.
        """
        return self.holds(event.actor.organisation_id)


def scope_for(policy: Policy, principal: Principal, action: str, object_: str) -> Scope | None:
    """Return how far ``action`` on ``object_`` reaches.

    For a person the union over assignments in force; for a service client what is its own
    organisation's, or everywhere when it is of none or of the Ministry.
    """
    if isinstance(principal, ClientPrincipal):
        facts = policy.bits([_AUDIT_READ_FACT] if AUDIT_READ in principal.scopes else [])
        clause = policy.clause(SERVICE_CLIENT, action, object_, facts)
        if clause is None:
            return None
        reach = principal.organisations
        return Scope((), principal.organisation_id, reach, principal.at, clause)
    posts = (
        _post(policy, principal, caller, action, object_) for caller in principal.caller.apart()
    )
    return _together(sorted((p for p in posts if p), key=lambda post: not post.everywhere))


def _post(
    policy: Policy, principal: PersonPrincipal, caller: Caller, action: str, object_: str
) -> Scope | None:
    """Return how far the posts at one organisation, which are all that ``caller`` has, reach."""
    place = caller.assignments[0].organisation_id
    own = ("own_organisation", frozenset({place}))
    for fact, organisations in (
        (("everywhere", None), own) if place in principal.ministries else (own,)
    ):
        bits = policy.bits([fact])
        grounds = tuple(
            Ground(each.id, each.role.value, clause)
            for each in caller.assignments
            if (clause := policy.clause(each.role, action, object_, bits)) is not None
        )
        if grounds:
            return Scope(grounds, place, organisations, principal.at)
    return None


def _together(apart: Iterable[Scope]) -> Scope | None:
    """Return how far the scopes at several organisations reach together; none of no scope."""
    posts = tuple(apart)
    if not posts[1:]:
        return next(iter(posts), None)
    reaches = [post.organisations for post in posts]
    own = frozenset[UUID]().union(*(reach for reach in reaches if reach is not None))
    return Scope(
        tuple(ground for post in posts for ground in post.grounds),
        posts[0].organisation_id,
        None if None in reaches else own,
        posts[0].as_of,
        posts=posts,
    )
