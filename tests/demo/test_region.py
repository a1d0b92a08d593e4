"""The demonstration region keeps the promises its records make to each other."""

from __future__ import annotations

import base64
import re
from collections import Counter, defaultdict
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, get_args
from zoneinfo import ZoneInfo

import holidays
import pytest
from zxcvbn import zxcvbn

from services.demo.credentials import (
    SERVICE_CLIENTS,
    password_for,
    secret_for,
    totp_secret_for,
)
from services.demo.names import short
from services.demo.records import Role
from services.demo.region import Region, build_region
from services.demo.schooldays import is_school_day
from services.demo.students import school_year
from services.demo.tables import table
from services.demo.texts import BOOKS, details, pools, recipes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from services.demo.records import (
        Assignment,
        Case,
        Item,
        Organisation,
        Person,
        PlanVersion,
        Request,
        Student,
    )

SEED, TODAY = 20, date(2026, 5, 14)
OPEN_STATES = {"draft", "submitted", "accepted", "allocated"}
LABELS = {
    "safeguarding",
    "health",
    "learning_support",
    "allegation",
    "finance",
    "ethnicity",
    "political",
    "religion",
    "union",
    "genetic",
    "sexuality",
    "criminal",
    "biometric",
    "court_order",
}
MACRONS = set("āēīōūĀĒĪŌŪ")


@cache
def region() -> Region:
    """Return the region most claims are made of."""
    return build_region(SEED, TODAY)


@cache
def organisations() -> dict[UUID, Organisation]:
    return {one.organisation_id: one for one in region().organisations}


@cache
def students() -> dict[UUID, Student]:
    return {one.student_id: one for one in region().students}


@cache
def people() -> dict[UUID, Person]:
    return {one.person_id: one for one in region().people}


@cache
def assignments() -> dict[UUID, tuple[UUID, Assignment]]:
    return {one.assignment_id: (p.person_id, one) for p in region().people for one in p.assignments}


def local_day(moment: datetime, organisation_id: UUID | None = None) -> date:
    zone = organisations()[organisation_id].time_zone if organisation_id else "Pacific/Auckland"
    return moment.astimezone(ZoneInfo(zone)).date()


def holds(person_id: UUID, roles: set[str], organisation_id: UUID, *days: date) -> bool:
    """Tell whether a person holds one of the roles there on each of the days."""
    held = [
        one
        for one in people()[person_id].assignments
        if one.role in roles and one.organisation_id == organisation_id
    ]
    return all(any(one.in_force(day) for one in held) for day in days)


def moments(value: object) -> Iterator[datetime]:
    """Yield every moment recorded anywhere inside a record."""
    if isinstance(value, datetime):
        yield value
    elif isinstance(value, tuple):
        for one in value:
            yield from moments(one)
    elif is_dataclass(value):
        for field in fields(value):
            yield from moments(getattr(value, field.name))


def test_same_seed_gives_the_same_region() -> None:
    assert build_region(SEED, TODAY) == region()


def test_another_seed_gives_other_ids_and_people() -> None:
    other = build_region(SEED + 1, TODAY)
    assert not {one.student_id for one in other.students} & set(students())
    assert [one.username for one in other.people] != [one.username for one in region().people]


@pytest.mark.parametrize(
    ("seed", "today"),
    [
        (1, date(2026, 1, 15)),
        (2, date(2026, 2, 4)),
        (3, date(2025, 12, 31)),
        (4, date(2028, 2, 29)),
    ],
)
def test_the_region_can_be_built_on_any_day(seed: int, today: date) -> None:
    built = build_region(seed, today)
    assert len(built.students) == 8_000
    assert len(built.cases) == 400


def test_ids_are_never_given_twice() -> None:
    built = region()
    ids = [
        *organisations(),
        *people(),
        *students(),
        *assignments(),
        *(one.request_id for one in built.requests),
        *(one.case_id for one in built.cases),
        *(item.item_id for one in built.cases for item in one.items),
    ]
    assert len(ids) == len(set(ids))
    assert len(people()) == len({one.username for one in built.people}) == len(built.people)
    assert len({one.national_student_number for one in built.students}) == len(built.students)


def test_counts_are_those_of_a_region() -> None:
    built = region()
    kinds = Counter(one.kind for one in built.organisations)
    assert (kinds["school"], kinds["asp"], kinds["isp"]) == (60, 4, 3)
    assert 450 <= len(built.people) <= 550
    assert len(built.students) == 8_000
    assert len(built.requests) == 600
    assert Counter(one.status for one in built.cases) == {
        "active": 250,
        "closed": 140,
        "withdrawn": 10,
    }
    assert {one.state for one in built.requests} == OPEN_STATES | {
        "declined",
        "assigned",
        "withdrawn",
    }


def test_every_organisation_names_a_known_time_zone_and_holiday_subdivision() -> None:
    for one in region().organisations:
        assert ZoneInfo(one.time_zone).key == one.time_zone
        assert one.holidays in holidays.list_supported_countries()["NZ"]
    assert sum(one.time_zone == "Pacific/Chatham" for one in region().organisations) == 2


def test_every_role_has_two_people() -> None:
    current: dict[str, set[UUID]] = defaultdict(set)
    places: dict[str, set[UUID]] = defaultdict(set)
    for person in region().people:
        for one in person.assignments:
            if one.in_force(TODAY):
                current[one.role].add(person.person_id)
                places[one.role].add(one.organisation_id)
    assert set(current) == set(get_args(Role))
    assert min(len(holders) for holders in current.values()) >= 2
    spread = {role for role, found in places.items() if len(found) > 1}
    assert set(get_args(Role)) - spread == {
        "central_investigation",
        "national_contracts",
        "prosecutions",
        "technical_support",
        "administrator",
    }


def test_every_school_has_a_leader_a_contact_and_an_office() -> None:
    for role in ("school_leader", "primary_contact", "school_office"):
        served = {
            one.organisation_id
            for person in region().people
            for one in person.assignments
            if one.role == role and one.in_force(TODAY)
        }
        assert served == {o.organisation_id for o in region().organisations if o.kind == "school"}


def test_some_people_moved_hold_two_roles_left_or_are_relief() -> None:
    """SG-3, SG-14: the demonstration has somebody for each way that access ends."""
    shapes: Counter[str] = Counter()
    for person in region().people:
        now = [one for one in person.assignments if one.in_force(TODAY)]
        past = [one for one in person.assignments if one.until and one.until <= TODAY]
        shapes["moved"] += bool(now and past)
        shapes["left"] += bool(past and not now)
        shapes["two roles"] += len(now) > 1
        shapes["relief"] += any(one.until is not None for one in now)
        shapes["never"] += not person.assignments
    assert min(shapes[kind] for kind in ("moved", "left", "two roles", "relief")) >= 10
    assert not shapes["never"]


def test_some_staff_are_kin_or_neighbours_of_students() -> None:
    """SG-9: browsing of one's own family and street has somebody to begin with."""
    homes = {caregiver.address for one in region().students for caregiver in one.caregivers}
    carers = {caregiver.name for one in region().students for caregiver in one.caregivers}
    staff = region().people
    assert any(one.address in homes for one in staff)
    assert any(f"{short(one.given_name)} {one.family_name}" in carers for one in staff)


def test_every_school_is_in_exactly_one_catchment_on_every_day() -> None:
    schools = {one.organisation_id for one in region().organisations if one.kind == "school"}
    for back in range(0, 1500, 50):
        day = TODAY - timedelta(days=back)
        assert Counter(
            r.school_id for r in region().catchments if r.in_force(day)
        ) == dict.fromkeys(schools, 1)
    assert sum(row.until is not None for row in region().catchments) == 1


def test_every_allocation_lies_inside_the_catchment() -> None:
    for one in region().requests:
        if one.allocated_to is None:
            continue
        assert one.allocated_at is not None
        provider = organisations()[one.allocated_to]
        day = local_day(one.allocated_at, one.school_id)
        assert provider.serves == one.school_id or any(
            row.provider_id == provider.organisation_id and row.school_id == one.school_id
            for row in region().catchments
            if row.in_force(day)
        )


def test_every_step_of_a_request_was_taken_by_somebody_who_held_the_role() -> None:
    """AC-DO-1, 2, 3, 5, 7 and 10: who makes, reviews and assigns."""
    team = next(
        one.organisation_id
        for one in region().organisations
        if one.function == "central_investigation"
    )
    for one in region().requests:
        owner, assignment = assignments()[one.made_by_assignment_id]
        assert owner == one.made_by
        assert assignment.in_force(local_day(one.created_at, one.school_id))
        if assignment.role == "regional_office":
            assert one.state != "withdrawn"
        else:
            assert assignment.organisation_id == one.school_id
            assert assignment.role in {"school_leader", "primary_contact", "school_office"}
        if one.reviewed_by and one.reviewed_at:
            day = local_day(one.reviewed_at, one.school_id)
            assert holds(one.reviewed_by, {"central_investigation"}, team, day)
        if one.assigned_by and one.assigned_at and one.allocated_to:
            day = local_day(one.assigned_at, one.school_id)
            leads = {"asp_workflow_lead", "isp_workflow_lead"}
            assert holds(one.assigned_by, leads, one.allocated_to, day)


def test_a_request_has_what_its_state_requires_and_nothing_later() -> None:
    for one in region().requests:
        reached = (
            one.submitted_at is not None,
            one.reviewed_at is not None,
            one.allocated_at is not None,
            one.assigned_at is not None,
        )
        expected = {
            "draft": (False, False, False, False),
            "submitted": (True, False, False, False),
            "accepted": (True, True, False, False),
            "declined": (True, True, False, False),
            "allocated": (True, True, True, False),
            "assigned": (True, True, True, True),
            "withdrawn": (reached[0], False, False, False),
        }
        assert reached == expected[one.state]
        assert (one.decline_reason is not None) == (one.state == "declined")
        assert (one.case_id is not None) == (one.state == "assigned")
        assert (one.withdrawn_at is not None) == (one.state == "withdrawn")


def test_steps_follow_each_other_in_time_on_school_days_before_today() -> None:
    records: list[Request | Case] = [*region().requests, *region().cases]
    for record in records:
        for moment in moments(record):
            assert moment.tzinfo is UTC
            day = local_day(moment, record.school_id)
            assert day < TODAY
            assert is_school_day(day)
    for one in region().requests:
        steps = [
            one.created_at,
            one.submitted_at,
            one.reviewed_at,
            one.allocated_at,
            one.assigned_at,
        ]
        taken = [moment for moment in steps if moment is not None]
        assert taken == sorted(taken)


def test_every_case_agrees_with_its_request() -> None:
    requests = {one.request_id: one for one in region().requests}
    for case in region().cases:
        request = requests[case.request_id]
        assert request.case_id == case.case_id
        assert (request.student_id, request.school_id) == (case.student_id, case.school_id)
        assert (request.allocated_to, request.assigned_at) == (case.provider_id, case.opened_at)
        assert (case.closed_at is None) == (case.outcome is None) == (case.status != "closed")
        assert (case.withdrawn_at is None) == (case.status != "withdrawn")


def test_case_managers_and_team_members_work_for_the_provider_throughout() -> None:
    for case in region().cases:
        ended = case.closed_at or case.withdrawn_at
        days = (
            local_day(case.opened_at, case.school_id),
            local_day(ended, case.school_id) if ended else TODAY,
        )
        roles = {"asp_case_manager", "isp_workflow_lead"}
        assert holds(case.case_manager_id, roles, case.provider_id, *days)
        assert case.case_manager_id not in case.team
        for member in case.team:
            assert holds(member, {"asp_case_manager"}, case.provider_id, *days)
    assert 0.25 < sum(bool(case.team) for case in region().cases) / 400 < 0.45


def test_a_primary_contact_is_one_of_the_school_and_never_the_maker() -> None:
    makers = {one.request_id: one.made_by for one in region().requests}
    named = [case for case in region().cases if case.primary_contact_id]
    assert len(named) > 320
    for case in named:
        assert case.primary_contact_id is not None
        ended = case.closed_at or case.withdrawn_at
        days = (
            local_day(case.opened_at, case.school_id),
            local_day(ended, case.school_id) if ended else TODAY,
        )
        assert holds(case.primary_contact_id, {"primary_contact"}, case.school_id, *days)
        assert case.primary_contact_id != makers[case.request_id]


def test_a_student_has_at_most_one_open_case() -> None:
    """A later problem is a new case: nothing else of the student is open meanwhile."""
    cases = {one.case_id: one for one in region().cases}
    spans: dict[UUID, list[tuple[datetime, datetime]]] = defaultdict(list)
    forever = datetime.max.replace(tzinfo=UTC)
    for one in region().requests:
        case = cases[one.case_id] if one.case_id else None
        if case:
            ended = case.closed_at or case.withdrawn_at
        else:
            ended = one.withdrawn_at or (one.reviewed_at if one.state == "declined" else None)
        spans[one.student_id].append((one.created_at, ended or forever))
    for found in spans.values():
        found.sort()
        assert all(earlier[1] < later[0] for earlier, later in pairwise(found))


def test_forty_students_have_an_earlier_closed_case_some_by_another_provider() -> None:
    found: dict[UUID, list[UUID]] = defaultdict(list)
    later = Counter(one.student_id for one in region().requests if one.state != "declined")
    for case in region().cases:
        if case.status == "closed":
            found[case.student_id].append(case.provider_id)
    assert sum(later[student] > 1 for student in found) == 40
    providers: dict[UUID, set[UUID]] = defaultdict(set)
    for case in region().cases:
        providers[case.student_id].add(case.provider_id)
    assert sum(len(several) > 1 for several in providers.values()) >= 20


def test_the_school_of_an_active_case_is_the_school_of_the_student() -> None:
    for case in region().cases:
        student = students()[case.student_id]
        if case.status == "active":
            assert student.school_id == case.school_id
        else:
            assert case.school_id in {student.school_id, student.last_school_id}


def test_authors_held_their_role_when_they_wrote() -> None:
    for case in region().cases:
        written: list[Item | PlanVersion] = [*case.items, *case.plan_versions]
        for one in written:
            _, assignment = assignments()[one.author_assignment_id]
            assert assignment.in_force(local_day(one.created_at, case.school_id))
            assert assignment.organisation_id in {case.school_id, case.provider_id}
            assert case.opened_at < one.created_at
            ended = case.closed_at or case.withdrawn_at
            assert ended is None or one.created_at < ended


def test_school_staff_write_comments_and_documents_without_labels() -> None:
    """AC-DO-1 to 3 and 6: labels are set by providers only."""
    for case in region().cases:
        for item in case.items:
            if assignments()[item.author_assignment_id][1].organisation_id == case.school_id:
                assert item.kind in {"comment", "document"}
                assert not item.labels


def test_items_are_shared_and_sensitive_in_proportion() -> None:
    items = [item for case in region().cases for item in case.items]
    assert all(3 <= len(case.items) <= 25 for case in region().cases)
    assert 0.2 < sum(item.shared_with_school for item in items) / len(items) < 0.3
    assert 0.06 < sum(bool(item.labels) for item in items) / len(items) < 0.1
    assert {label for item in items for label in item.labels} <= LABELS
    assert all(item.labels for item in items if item.summary)
    assert sum(item.deleted is not None for item in items) > 10
    assert sum(item.summary is not None for item in items) > 50


def test_every_label_has_texts_of_its_own() -> None:
    assert set(table("labels")["weights"]) == LABELS
    assert set(recipes()) >= LABELS


def test_only_active_cases_are_notified_for_prosecution() -> None:
    notified = [case for case in region().cases if case.prosecution_notified]
    assert 5 <= len(notified) <= 15
    assert all(case.status == "active" for case in notified)


def test_dates_of_birth_fit_the_year_level() -> None:
    for one in region().students:
        turns = school_year(TODAY) - one.year_level - 4
        assert date(turns - 1, 4, 1) <= one.date_of_birth <= date(turns, 3, 31)


def test_students_go_to_a_school_that_teaches_their_year() -> None:
    for one in region().students:
        assert (one.school_id is None) == (one.enrolment_status == "not_enrolled")
        if one.school_id:
            lowest, highest = organisations()[one.school_id].year_levels or (0, 0)
            assert lowest <= one.year_level <= highest
        assert one.school_id != one.last_school_id
        assert re.fullmatch(r"\d{10}", one.national_student_number)
    assert 20 <= sum(one.school_id is None for one in region().students) <= 80


def test_siblings_share_name_address_and_caregivers() -> None:
    families: dict[tuple[str, str], list[Student]] = defaultdict(list)
    for one in region().students:
        families[one.family_name, one.address].append(one)
    siblings = [found for found in families.values() if len(found) > 1]
    assert len(siblings) > 1_000
    together = sum(len({one.caregivers for one in found}) == 1 for found in siblings)
    assert together / len(siblings) > 0.98


def test_names_carry_macrons_apostrophes_hyphens_and_single_letters() -> None:
    names = [f"{one.given_name} {one.family_name}" for one in region().students]
    assert sum(bool(MACRONS & set(name)) for name in names) > 800
    for wanted in ("Tāne", "Mārama", "Wīremu", "Ngāio", "Kahu", "O'Brien", "-"):
        assert any(wanted in name for name in names), wanted
    assert any(re.search(r" [A-Z] ", name) for name in names)
    assert any(MACRONS & set(one.name) for one in region().organisations)


def test_usernames_and_addresses_of_mail_are_plain() -> None:
    mails = [one.email for one in region().people]
    mails += [one.email for one in region().organisations]
    mails += [c.email for one in region().students for c in one.caregivers if c.email]
    for mail in mails:
        assert re.fullmatch(r"[a-z0-9.]+@[a-z0-9-]+(\.[a-z]+)*\.example", mail), mail


def test_texts_are_varied() -> None:
    """No two texts in a hundred are alike, and no sentence is worn out."""
    items = [item.text for case in region().cases for item in case.items]
    assert len(set(items)) / len(items) > 0.98
    reasons = [one.reason for one in region().requests]
    assert len(set(reasons)) == len(reasons)
    patterns = {pattern for patterns in pools().values() for pattern in patterns}
    assert len(patterns) > 500
    sentences = Counter(part for text in items for part in re.split(r"(?<=[.?!]) ", text))
    assert len(sentences) / sentences.total() > 0.6
    assert sentences.most_common(1)[0][1] / sentences.total() < 0.02


def test_texts_are_of_one_to_a_dozen_sentences_without_open_slots() -> None:
    texts = [item.text for case in region().cases for item in case.items]
    texts += [text for one in region().requests for text in (one.reason, one.absences)]
    for text in texts:
        assert "{" not in text
        assert "  " not in text
        assert text[-1] in ".'"
        assert len(text) < 1200


def test_every_pool_and_slot_that_is_named_exists() -> None:
    known = {"name", "caregiver", "contact", "manager", "year"}
    for variants in recipes().values():
        assert all(pool in pools() for variant in variants for pool, _, _ in variant)
    for patterns in pools().values():
        for pattern in patterns:
            assert all(slot in known or details(slot) for slot in pattern[1::2])
    names = [name for book in BOOKS for name in table(book)["pools"]]
    assert len(names) == len(set(names))


def test_every_password_is_long_strong_and_free_of_its_owner() -> None:
    """SG-4 and SG-21."""
    passwords = [password_for(SEED, one.username) for one in region().people]
    assert len(set(passwords)) == len(passwords)
    for person, password in zip(region().people, passwords, strict=True):
        assert len(password) >= 16
        parts = [part for part in person.username.split(".") if len(part) > 2]
        assert not any(part in password for part in parts)
    assert all(zxcvbn(password)["score"] == 4 for password in passwords[:40])


def test_credentials_depend_on_seed_and_name_alone() -> None:
    assert password_for(1, "a.b") == password_for(1, "a.b")
    made = {
        make(seed, name)
        for make in (password_for, totp_secret_for, secret_for)
        for seed in (1, 2)
        for name in "ab"
    }
    assert len(made) == 12
    assert len(base64.b32decode(totp_secret_for(1, "a.b"))) == 20


def test_three_service_clients_have_one_scope_each() -> None:
    assert sorted(scope for one in SERVICE_CLIENTS for scope in one.scopes) == [
        "audit.read",
        "decisions",
        "feeds",
    ]
