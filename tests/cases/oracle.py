"""A second reading of the clauses, in plain Python, that shares no code with the services.

It says of a record, described as in a table, what each assignment sees (AC-SEE, SE, SG-13) and
what may be done with it (AC-DO). Where a clause is open it follows ``docs/decisions/0003``.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

#: "every part" of AC-SEE: without history and attendance, which are granted by name
EVERY: Final = frozenset(
    {
        *("overview", "student_basic", "demographics", "family", "contacts", "referral"),
        *("plan", "items", "agency_requests", "support_requests", "disclosures", "team"),
    }
)
SCHOOL: Final = frozenset({"school_leader", "primary_contact", "school_office"})
LEAD: Final = "asp_workflow_lead"
MANAGER: Final = "asp_case_manager"
TEAM: Final = "central_investigation"


@dataclass(frozen=True)
class Post:
    """A person in an assignment."""

    key: str
    person: str
    role: str
    organisation: str
    in_force: bool = True


@dataclass(frozen=True)
class Thing:
    """An item."""

    key: str
    author: str
    kind: str = "note"
    shared: bool = False
    #: each label, and the post that set it
    labels: tuple[tuple[str, str], ...] = ()
    summary: bool = False


@dataclass(frozen=True)
class Version:
    """A version of the plan."""

    key: str
    author: str
    agreed: bool = False
    labelled: bool = False


@dataclass(frozen=True)
class Rec:
    """A request or a case; people are named by their posts."""

    key: str
    kind: str
    status: str
    student: str
    school: str
    now_at: str | None
    maker: str
    order: int
    provider: str | None = None
    manager: str | None = None
    contact: str | None = None
    team: tuple[str, ...] = ()
    reviewer: str | None = None
    submitted: bool = False
    items: tuple[Thing, ...] = ()
    plans: tuple[Version, ...] = ()
    request: str | None = None


@dataclass
class Seen:
    """What a caller sees of a record."""

    parts: set[str] = field(default_factory=set)
    items: set[str] = field(default_factory=set)
    summaries: set[str] = field(default_factory=set)
    plans: set[str] = field(default_factory=set)
    history: set[str] = field(default_factory=set)
    contacts: set[str] = field(default_factory=set)
    #: (post, clause, part): on what each part may be said to rest
    grounds: set[tuple[str, str, str]] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.parts)


def open_to_anybody(rec: Rec) -> bool:
    """Say whether anybody sees it: no deleted draft, no withdrawn case (AC-DO-14)."""
    return rec.status != "deleted" and (rec.kind, rec.status) != ("case", "withdrawn")


def granted(post: Post, rec: Rec) -> dict[str, str]:
    """Return the parts that one assignment is given, with the clause."""
    if not post.in_force or not open_to_anybody(rec):
        return {}
    reading = {
        "school_leader": _leader,
        "primary_contact": _contact,
        "school_office": _office,
        LEAD: _lead,
        MANAGER: _manager,
        TEAM: _central,
    }.get(post.role)
    return reading(post, rec) if reading else {}


def _by(clause: str, parts: str | Iterable[str]) -> dict[str, str]:
    return dict.fromkeys(parts.split() if isinstance(parts, str) else parts, clause)


def _here(post: Post, rec: Rec) -> bool:
    return rec.now_at == post.organisation


def _leader(post: Post, rec: Rec) -> dict[str, str]:
    if not (_here(post, rec) and rec.school == post.organisation):
        return {}
    parts = _by("AC-SEE-1", "overview student_basic demographics contacts referral team history")
    if rec.kind == "case" and rec.status == "active":
        parts |= _by("AC-SEE-2", "plan items")
    return parts


def _contact(post: Post, rec: Rec) -> dict[str, str]:
    if not _here(post, rec):
        return {}
    if rec.kind == "request" and rec.maker == post.key:
        return _by("AC-SEE-3", "overview student_basic referral contacts")
    if rec.kind == "case" and rec.contact == post.key and rec.status == "active":
        return _by("AC-SEE-4", "overview student_basic contacts plan items")
    return {}


def _office(post: Post, rec: Rec) -> dict[str, str]:
    if not (_here(post, rec) and rec.school == post.organisation):
        return {}
    if rec.kind == "request":
        return _by("AC-SEE-5", "overview student_basic referral contacts")
    if rec.status == "active":
        return _by("AC-SEE-6", "overview student_basic contacts")
    return _by("AC-SEE-6", "overview student_basic")


def _with_provider(post: Post, rec: Rec) -> bool:
    on = rec.status in {"allocated", "assigned", "active", "closed"}
    return on and rec.provider == post.organisation


def _lead(post: Post, rec: Rec) -> dict[str, str]:
    if not _with_provider(post, rec):
        return {}
    parts = _by("AC-SEE-9", EVERY)
    if rec.status == "active":
        parts |= _by("AC-SEE-9", "attendance") | _by("AC-SEE-10", "history")
    return parts


def _manager(post: Post, rec: Rec) -> dict[str, str]:
    if not _with_provider(post, rec):
        return {}
    if rec.manager == post.key:
        parts = _by("AC-SEE-12", EVERY)
        if rec.status == "active":
            parts |= _by("AC-SEE-12", "attendance") | _by("AC-SEE-13", "history")
        return parts
    if post.key in rec.team and rec.status == "active":
        return _by(
            "AC-SEE-14",
            EVERY - {"agency_requests", "support_requests", "disclosures"},
        )
    return {}


def _central(_post: Post, rec: Rec) -> dict[str, str]:
    if not rec.submitted:
        return {}
    parts = _by("AC-SEE-15", "overview contacts")
    if rec.kind == "request" and rec.status == "submitted":
        parts |= _by("AC-SEE-15", "student_basic demographics referral")
    return parts


def item_by(post: Post, rec: Rec, item: Thing) -> str | None:
    """Return the clause by which one assignment sees an item itself."""
    parts = granted(post, rec)
    clause = parts.get("items")
    labelled = bool(item.labels)
    if clause in {"AC-SEE-9", "AC-SEE-12"}:
        return clause
    if labelled:  # SE: shut to all who no clause lets see sensitive items, its author too
        return None
    if clause == "AC-SEE-14" or (clause and item.shared):
        return clause
    return "AC-SEE-25" if parts and item.author == post.key else None


def plan_by(post: Post, rec: Rec, version: Version) -> str | None:
    """Return the clause by which one assignment sees a version of the plan."""
    clause = granted(post, rec).get("plan")
    if clause in {"AC-SEE-9", "AC-SEE-12"}:
        return clause
    if version.labelled:
        return None
    return clause if clause == "AC-SEE-14" or version.agreed else None


def entry_by(post: Post, rec: Rec, other: Rec) -> str | None:
    """Return the clause by which one assignment sees ``other`` in the history of ``rec``."""
    clause = granted(post, rec).get("history")
    ended = other.kind == "request" or other.status == "closed"
    earlier = other.student == rec.student and other.order < rec.order
    if not clause or not ended or not earlier or other.key == rec.request:
        return None
    if clause == "AC-SEE-1":
        own = granted(post, other)
        return clause if {"overview", "referral"} <= set(own) else None
    closed_elsewhere = other.kind == "case" and other.provider != rec.provider
    return clause if closed_elsewhere and other.status == "closed" else None


def sees(posts: Sequence[Post], rec: Rec, world: Sequence[Rec]) -> Seen:
    """Return the union of what each assignment sees."""
    seen = Seen()
    for post in posts:
        parts = granted(post, rec)
        seen.parts |= parts.keys()
        seen.grounds |= {(post.key, clause, part) for part, clause in parts.items()}
        _things(seen, post, rec, world)
    if "contacts" in seen.parts:
        authors = [i.author for i in rec.items if i.key in seen.items]
        authors += [v.author for v in rec.plans if v.key in seen.plans]
        involved = (rec.maker, rec.contact, rec.manager, rec.reviewer, *authors)
        seen.contacts = {post for post in involved if post}
    return seen


def _things(seen: Seen, post: Post, rec: Rec, world: Sequence[Rec]) -> None:
    for item in rec.items:
        clause = item_by(post, rec, item)
        if clause:
            seen.items.add(item.key)
        elif item.summary and item.labels:
            clause = item_by(post, rec, replace(item, labels=()))
            if clause:
                seen.summaries.add(item.key)
        if clause:
            seen.parts.add("items")
            seen.grounds.add((post.key, clause, "items"))
    seen.summaries -= seen.items
    seen.plans |= {v.key for v in rec.plans if plan_by(post, rec, v)}
    seen.history |= {o.key for o in world if entry_by(post, rec, o)}


def may(post: Post, rec: Rec, action: str, item: Thing | None = None) -> bool:
    """Say whether one assignment may ever do ``action`` to a record that it sees."""
    if not granted(post, rec):
        return False
    if post.role in SCHOOL:
        return _school_may(post, rec, action)
    if post.role == TEAM:
        return action in {"accept", "decline", "allocate", "move"}
    if post.role == LEAD or (post.role == MANAGER and rec.manager == post.key):
        return _provider_may(post, action, item, lead=post.role == LEAD)
    return False


def _school_may(post: Post, rec: Rec, action: str) -> bool:
    if rec.kind == "case":
        adds = action in {"add comment", "add document"}
        return adds or (action == "name contact" and post.role != "primary_contact")
    owned = {"edit", "submit"}
    if post.role != "school_office":
        owned |= {"withdraw", "delete"}
    return action in owned


def _provider_may(post: Post, action: str, item: Thing | None, *, lead: bool) -> bool:
    if action in {"assign", "allocate", "withdraw case"}:
        return lead
    if action == "unlabel":
        return lead or (item is not None and {setter for _, setter in item.labels} == {post.key})
    if action == "delete item":
        return item is not None and item.author == post.key
    return action in {
        "edit",
        "add note",
        "add comment",
        "add document",
        "add correspondence",
        "add activity",
        "edit item",
        "share",
        "label",
        "plan",
        "name member",
        "notify",
        "close",
    }


#: in which states of a record an action is possible
POSSIBLE: Final = {
    "submit": {"draft"},
    "delete": {"draft"},
    "accept": {"submitted"},
    "decline": {"submitted"},
    "withdraw": {"draft", "submitted", "accepted", "allocated"},
    "withdraw case": {"active", "closed"},
}


def possible(posts: Sequence[Post], rec: Rec, world: Sequence[Rec], action: str) -> bool:
    """Say whether the state of the record allows ``action`` to who may do it."""
    if action == "edit":
        able = [p for p in posts if may(p, rec, action)]
        goes_on = any(case.request == rec.key and case.status == "active" for case in world)
        theirs = rec.status == "allocated" or (rec.status == "assigned" and goes_on)
        return any(rec.status == "draft" if p.role in SCHOOL else theirs for p in able)
    if action == "assign" and rec.kind == "request":
        return rec.status == "allocated"
    if action == "allocate":
        team = any(p.role == TEAM and may(p, rec, action) for p in posts)
        return rec.status in ({"accepted", "allocated"} if team else {"allocated"})
    return rec.status in POSSIBLE.get(action, {"active"})


def answer(
    posts: Sequence[Post], rec: Rec, world: Sequence[Rec], action: str, item: Thing | None = None
) -> int:
    """Return the status of a well-formed attempt, in the order of the contract."""
    seen = sees(posts, rec, world)
    if not seen or (item is not None and item.key not in seen.items | seen.summaries):
        return 404
    if item is not None and item.key not in seen.items:
        return 403
    if not any(may(post, rec, action, item) for post in posts):
        return 403
    return 200 if possible(posts, rec, world, action) else 409
