"""Every role over every shape of record: what may be done, what is refused, and how."""

from typing import Final
from uuid import uuid4

import pytest

from tests.cases.atlas import ANY, ASP, OTHER_ASP, Atlas
from tests.cases.oracle import Thing, answer
from tests.cases.test_disclosure import PEOPLE
from tests.cases.world import Json

pytestmark = pytest.mark.asyncio(loop_scope="module")
WORDS: Final = {"reason": "For a good reason."}
#: action: kind, method, what comes after the record's path
ROUTES: Final[dict[str, tuple[str, str, str]]] = {
    "edit": ("request", "PATCH", ""),
    "delete": ("request", "DELETE", ""),
    "submit": ("request", "POST", "/submit"),
    "accept": ("request", "POST", "/accept"),
    "decline": ("request", "POST", "/decline"),
    "withdraw": ("request", "POST", "/withdraw"),
    "allocate": ("request", "POST", "/allocate"),
    "name contact": ("case", "PUT", "/primary-contact"),
    "name member": ("case", "POST", "/team"),
    "plan": ("case", "PUT", "/plan"),
    "notify": ("case", "PUT", "/prosecution-notice"),
    "move": ("case", "POST", "/move"),
    "close": ("case", "POST", "/close"),
    "withdraw case": ("case", "DELETE", ""),
    "add note": ("case", "POST", "/items"),
    "add comment": ("case", "POST", "/items"),
    "add document": ("case", "POST", "/items"),
    "add correspondence": ("case", "POST", "/items"),
    "add activity": ("case", "POST", "/items"),
}
#: one record of every shape; the others differ in nothing that an action depends on
SHAPES: Final = (
    *("draft", "draft_of_contact", "submitted", "accepted", "declined", "allocated"),
    *("withdrawn_draft", "withdrawn_submitted", "deleted", "active.request", "closed.request"),
    "left.request",
    *("active", "closed", "moved_on", "reassigned", "left", "of_both", "in_error"),
)
#: they see as little as somebody else in the matrix
NOBODY: Final = ("other_contact", "other_office", "other_manager", "analyst", "relief", "twice")
ON_ITEMS: Final = ("edit item", "share", "label", "unlabel", "delete item")


def body_of(atlas: Atlas, action: str, key: str) -> Json | None:
    """Return a well-formed body that names people and organisations the action may name."""
    rec, staff = atlas.records[key], atlas.staff
    asp = rec.provider in (None, OTHER_ASP)
    if action.startswith("add "):
        return {"kind": action.removeprefix("add "), "text": "Seen at home today."}
    bodies: dict[str, Json] = {
        "edit": {"absences": "Twelve days."},
        "decline": WORDS,
        "withdraw case": WORDS,
        "allocate": {"organisation_id": str(atlas.ids[ASP if asp else OTHER_ASP])},
        "move": {"organisation_id": str(atlas.ids[ASP if asp else OTHER_ASP])},
        "name contact": {"person_id": str(staff["contact"].id)},
        "name member": {"person_id": str(staff["member" if not asp else "other_manager"].id)},
        "plan": {"goals": "Every day.", "actions": "A lift on Mondays."},
        "close": {"outcome": "Attends again."},
    }
    return bodies.get(action)


ITEM_BODIES: Final[dict[str, Json]] = {
    "edit item": {"text": "Said better."},
    "share": {"shared_with_school": True},
    "label": {"labels": ["genetic"]},
    "unlabel": {"labels": []},
    "delete item": WORDS,
}


@pytest.mark.parametrize("person", [p for p in PEOPLE if p not in NOBODY])
async def test_what_no_clause_allows_is_refused(atlas: Atlas, person: str) -> None:
    """AC-DO-1 to 3, 5 to 7, 12, 14: 404 what is hidden, 403 what is not theirs, then 409."""
    world, everything = atlas.world, list(atlas.records.values())
    world.forgive()
    for key in SHAPES:
        rec, posts = atlas.records[key], atlas.people[person]
        actions = [a for a, (kind, _, _) in ROUTES.items() if kind == rec.kind]
        if not atlas.seen(person, key):
            actions = actions[:1] if key not in {"active", "submitted"} else actions
        for action in actions:
            expected = answer(posts, rec, everything, action)
            if expected == 200:
                continue
            _, method, rest = ROUTES[action]
            got = await world.send(
                atlas.callers[person],
                method,
                f"{atlas.path(key)}{rest}",
                body_of(atlas, action, key),
                **ANY,
            )
            assert got.status_code == expected, (person, key, action, got.text)


@pytest.mark.parametrize("person", ["leader", "contact", "office", "manager", "member", "team"])
async def test_items_are_changed_by_nobody_else(atlas: Atlas, person: str) -> None:
    """AC-DO-5, 6: hidden items are missing; visible ones are the provider's to change."""
    world, everything = atlas.world, list(atlas.records.values())
    world.forgive()
    for key in ("active", "closed"):
        rec = atlas.records[key]
        for item in rec.items:
            for action in ON_ITEMS:
                if action == "unlabel" and not item.labels:
                    continue
                expected = answer(atlas.people[person], rec, everything, action, item)
                if expected == 200:
                    continue
                got = await world.send(
                    atlas.callers[person],
                    "DELETE" if action == "delete item" else "PATCH",
                    f"{atlas.path(key)}/items/{atlas.ids[item.key]}",
                    ITEM_BODIES[action],
                    **ANY,
                )
                assert got.status_code == expected, (person, key, item, action, got.text)


async def test_what_is_refused_changes_nothing(atlas: Atlas) -> None:
    """After all these refusals every record is what it was."""
    rows = await atlas.world.cases.runtime.pool.fetch("select id, status from cases.record")
    stands = {row["id"]: row["status"] for row in rows}
    assert {key: stands[atlas.ids[key]] for key in atlas.records} == {
        key: rec.status for key, rec in atlas.records.items()
    }


# -- what is allowed, each time on a record of its own ---------------------------------------------

ALLOWED_REQUESTS: Final = [
    *((who, "edit", "draft") for who in ("leader", "contact", "office")),
    *((who, "submit", "draft") for who in ("leader", "contact", "office")),
    *((who, "delete", "draft") for who in ("leader", "contact")),
    *((who, "withdraw", s) for who in ("leader", "contact") for s in ("draft", "submitted")),
    ("leader", "withdraw", "allocated"),
    ("lead", "edit", "allocated"),
    ("lead", "allocate", "allocated"),
    ("team", "accept", "submitted"),
    ("team", "decline", "submitted"),
    ("team", "allocate", "accepted"),
    ("team", "allocate", "allocated"),
]


@pytest.fixture(scope="module")
def spare() -> list[int]:
    """Count what was made, for names."""
    return [0]


@pytest.mark.parametrize(("who", "action", "status"), ALLOWED_REQUESTS)
async def test_requests_go_where_their_clauses_let_them(
    atlas: Atlas, spare: list[int], who: str, action: str, status: str
) -> None:
    """AC-DO-1 to 3, 5, 7."""
    spare[0] += 1
    key = f"spare{spare[0]}"
    maker = who if who in {"leader", "contact", "office"} else "leader"
    rec = await atlas.request(key, maker, "student", status)
    try:
        assert answer(atlas.people[who], rec, [rec], action) == 200
        _, method, rest = ROUTES[action]
        path, body = f"{atlas.path(key)}{rest}", body_of(atlas, action, key)
        got = await atlas.world.send(atlas.callers[who], method, path, body, **ANY)
        assert got.status_code == 200, got.text
        event = await atlas.world.newest()
        assert event.stream == f"request:{atlas.ids[key]}"
        clauses = {"lead": "AC-DO-5", "team": "AC-DO-7", "leader": "AC-DO-1", "contact": "AC-DO-2"}
        assert [g.clause for g in event.grounds] == [clauses.get(who, "AC-DO-3")]
    finally:
        del atlas.records[key]


ALLOWED_CASES: Final = [
    *((who, a) for who in ("leader", "office") for a in ("name contact", "add comment")),
    *(("contact", a) for a in ("add comment", "add document")),
    *(("lead", a) for a in ROUTES if ROUTES[a][0] == "case" and a not in {"move", "name contact"}),
    *(
        ("manager", a)
        for a in ROUTES
        if ROUTES[a][0] == "case" and a not in {"move", "name contact", "withdraw case"}
    ),
    ("team", "move"),
    *((who, a) for who in ("lead", "manager") for a in ON_ITEMS),
]


async def spare_case(atlas: Atlas, key: str) -> None:
    """Open a case that has a contact and an item."""
    await atlas.case(key, "leader", "student", "manager")
    await atlas.contact(key, "contact", "office")


@pytest.mark.parametrize(("who", "action"), ALLOWED_CASES)
async def test_casework_is_done_by_whom_the_clauses_name(
    atlas: Atlas, spare: list[int], who: str, action: str
) -> None:
    """AC-DO-1 to 3, 5 to 7, 12, 14."""
    spare[0] += 1
    key = f"spare{spare[0]}"
    await spare_case(atlas, key)
    try:
        if action in ON_ITEMS:
            labels = (("health", who),) if action == "unlabel" else ()
            item = Thing(f"{key}.item", who, labels=labels)
            await atlas.item(key, item)
            method = "DELETE" if action == "delete item" else "PATCH"
            path, body = f"{atlas.path(key)}/items/{atlas.ids[item.key]}", ITEM_BODIES[action]
        else:
            _, method, rest = ROUTES[action]
            path, body = f"{atlas.path(key)}{rest}", dict(body_of(atlas, action, key) or {})
            if action == "name member":
                body = {"person_id": str(atlas.staff["colleague"].id)}
        got = await atlas.world.send(atlas.callers[who], method, path, body or None, **ANY)
        assert got.status_code in {200, 201}, (who, action, got.text)
    finally:
        for made in (key, f"{key}.request"):
            del atlas.records[made]


async def test_a_label_is_removed_by_who_set_it_or_the_lead(atlas: Atlas) -> None:
    """AC-DO-6: adding a label of one's own gives no right over the lead's."""
    path = f"{atlas.path('active')}/items/{atlas.ids['labelled_by_lead']}"
    manager, world = atlas.callers["manager"], atlas.world
    both = {"labels": ["allegation", "finance", "health"]}
    added = await world.send(manager, "PATCH", path, both, **ANY)
    assert added.status_code == 200
    for left in ([], ["health"], ["allegation", "health"]):
        refused = await world.send(manager, "PATCH", path, {"labels": left}, **ANY)
        assert refused.status_code == 403, left
    own = await world.send(manager, "PATCH", path, {"labels": ["allegation", "finance"]}, **ANY)
    assert own.status_code == 200


async def test_the_contact_is_never_oneself_and_is_of_the_school(atlas: Atlas) -> None:
    """A primary contact has that role at the school; nobody names themselves; 404 comes first."""
    path, world = f"{atlas.path('active')}/primary-contact", atlas.world
    closed = f"{atlas.path('closed')}/primary-contact"
    for who, expected in (("leader", 403), ("office", 409), ("other_contact", 404)):
        body = {"person_id": str(atlas.staff[who].id)}
        got = await world.send(atlas.callers["leader"], "PUT", path, body, **ANY)
        assert got.status_code == expected, who
    for where in (path, closed):
        body = {"person_id": str(uuid4())}
        unknown = await world.send(atlas.callers["leader"], "PUT", where, body)
        assert unknown.status_code == 404
    body = {"person_id": str(atlas.staff["contact"].id)}
    assert (await world.send(atlas.callers["leader"], "PUT", closed, body)).status_code == 428


async def test_only_providers_that_serve_the_school_are_given_its_requests(atlas: Atlas) -> None:
    """AC-DO-7: unknown organisations and schools are 404, outside the catchment is 409."""
    path, team = f"{atlas.path('accepted')}/allocate", atlas.callers["team"]
    for name in (None, "school", "ministry"):
        body = {"organisation_id": str(atlas.ids[name] if name else uuid4())}
        assert (await atlas.world.send(team, "POST", path, body)).status_code == 404
    outside = f"{atlas.path('elsewhere')}/allocate"
    body = {"organisation_id": str(atlas.ids[ASP])}
    assert (await atlas.world.send(team, "POST", outside, body)).status_code == 409


@pytest.mark.parametrize("person", PEOPLE)
async def test_requests_are_begun_about_learners_of_ones_school_only(
    atlas: Atlas, person: str
) -> None:
    """AC-DO-1 to 3: 404 who is hidden, 403 who is seen through a record only."""
    school = {"school_leader", "primary_contact", "school_office"}
    at = {p.organisation for p in atlas.people[person] if p.role in school and p.in_force}
    for student, now_at in (("busy", "school"), ("gone", "other_school"), ("nowhere", None)):
        if now_at in at:
            continue
        body = {"student_id": str(atlas.ids[student]), "reason": "Away."}
        got = await atlas.world.send(atlas.callers[person], "POST", "/v1/requests", body)
        through = [k for k, rec in atlas.records.items() if rec.student == student]
        parts = {p for k in through for p in atlas.seen(person, k).parts}
        known = parts & {"student_basic", "demographics", "family"}
        assert got.status_code == (403 if known else 404), (person, student)


async def test_a_plan_version_of_another_case_is_not_a_way_in(atlas: Atlas) -> None:
    """An item is found on its own case only."""
    item = atlas.ids["shared"]
    got = await atlas.world.get(atlas.callers["lead"], f"{atlas.path('closed')}/items/{item}")
    assert got.status_code == 404
