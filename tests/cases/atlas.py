"""An atlas of record shapes: every stage of life, come about through the served application.

Beside each record stands its description for the oracle (:mod:`tests.cases.oracle`). Names of
people are the names of their posts; the second post of a person has a name of its own.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from services.authz.events import OrganisationKind, Role
from tests.cases.oracle import Post, Rec, Seen, Thing, Version, sees
from tests.cases.world import REASON, Json, Region, Staff, World, make_region

SCHOOL, OTHER_SCHOOL = "school", "other_school"
ASP, OTHER_ASP = "asp", "other_asp"
ANY: Final = {"if_match": "*"}


@dataclass
class Atlas:
    """The region with its records, and what the oracle needs to know of them."""

    region: Region
    staff: dict[str, Staff] = field(default_factory=dict)
    posts: dict[str, Post] = field(default_factory=dict)
    records: dict[str, Rec] = field(default_factory=dict)
    ids: dict[str, UUID] = field(default_factory=dict)
    people: dict[str, list[Post]] = field(default_factory=dict)
    #: who signs in as whom
    callers: dict[str, Staff] = field(default_factory=dict)

    @property
    def world(self) -> World:
        """The installation."""
        return self.region.world

    def known(self, key: str, staff: Staff, organisation: str, person: str | None = None) -> None:
        """Take a post into the atlas."""
        person = person or key
        post = Post(key, person, staff.role.value, organisation)
        self.staff[key], self.posts[key] = staff, post
        self.people.setdefault(person, []).append(post)
        self.callers.setdefault(person, staff)

    def gone(self, key: str) -> None:
        """Note that a post is no longer held."""
        post = replace(self.posts[key], in_force=False)
        self.posts[key] = post
        self.people[post.person] = [post if p.key == key else p for p in self.people[post.person]]

    def seen(self, person: str, key: str) -> Seen:
        """Return what the oracle says ``person`` sees of a record."""
        everything = list(self.records.values())
        return sees(self.people[person], self.records[key], everything)

    def path(self, key: str) -> str:
        """Return where a record is."""
        return f"/v1/{self.records[key].kind}s/{self.ids[key]}"

    def names(self, ids: set[str]) -> set[str]:
        """Return ids by the names they have in the atlas; unknown ones stay as they are."""
        known = {str(found): name for name, found in self.ids.items()}
        return {known.get(one, one) for one in ids}

    def person_ids(self, posts: set[str]) -> set[str]:
        """Return the ids of the people in ``posts``."""
        return {str(self.staff[post].id) for post in posts}

    def describe(self, key: str, **changes: Any) -> Rec:  # noqa: ANN401 - fields of a description
        """Change the description of a record."""
        self.records[key] = replace(self.records[key], **changes)
        return self.records[key]

    # -- records --------------------------------------------------------------------------------

    async def do(self, who: str, method: str, path: str, body: Json | None = None) -> Json:
        """Let somebody do what has to succeed."""
        return await self.world.must(self.staff[who], method, path, body, **ANY)

    async def request(self, key: str, maker: str, student: str, status: str = "draft") -> Rec:
        """Make a request and take it to ``status``, at most ``allocated`` (to the ASP)."""
        self.world.clock.advance(timedelta(minutes=1))
        body = {"student_id": str(self.ids[student]), "reason": f"{REASON} {key}"}
        made = await self.do(maker, "POST", "/v1/requests", body)
        self.ids[key] = UUID(made["id"])
        school = self.posts[maker].organisation
        self.records[key] = Rec(
            key, "request", "draft", student, school, school, maker, len(self.records)
        )
        path = self.path(key)
        if status != "draft":
            await self.do(maker, "POST", f"{path}/submit")
            self.describe(key, submitted=True)
        if status in {"accepted", "allocated"}:
            await self.do("team", "POST", f"{path}/accept")
            self.describe(key, reviewer="team")
        if status == "declined":
            await self.do("team", "POST", f"{path}/decline", {"reason": "Not yet."})
            self.describe(key, reviewer="team")
        if status == "allocated":
            await self.allocate(key, ASP)
        return self.describe(key, status=status)

    async def allocate(self, key: str, provider: str) -> None:
        """Give a request to a provider."""
        body = {"organisation_id": str(self.ids[provider])}
        await self.do("team", "POST", f"{self.path(key)}/allocate", body)
        self.describe(key, provider=provider, status="allocated")

    async def case(
        self, key: str, maker: str, student: str, manager: str, provider: str = ASP
    ) -> Rec:
        """Open a case at a provider; its request is called ``<key>.request``."""
        asked = f"{key}.request"
        await self.request(asked, maker, student, "accepted")
        await self.allocate(asked, provider)
        lead = "lead" if provider == ASP else "other_lead"
        self.world.clock.advance(timedelta(minutes=1))
        body = {"person_id": str(self.staff[manager].id)}
        made = await self.do(lead, "POST", f"{self.path(asked)}/assign", body)
        self.ids[key] = UUID(made["case_id"])
        request = self.describe(asked, status="assigned", manager=manager)
        self.records[key] = replace(
            request,
            key=key,
            kind="case",
            status="active",
            order=len(self.records),
            request=asked,
        )
        return self.records[key]

    async def item(self, key: str, item: Thing, **more: object) -> None:
        """Put an item on a case."""
        body = {
            "kind": item.kind,
            "text": f"The text of {item.key}.",
            "shared_with_school": item.shared,
            "labels": [label for label, _ in item.labels],
            **more,
        }
        if item.summary:
            body["summary"] = f"The summary of {item.key}."
        made = await self.do(item.author, "POST", f"{self.path(key)}/items", body)
        self.ids[item.key] = UUID(made["id"])
        self.describe(key, items=(*self.records[key].items, item))

    async def plan(self, key: str, version: Version) -> None:
        """Write a version of a plan."""
        body = {
            "goals": f"Goals of {version.key}.",
            "actions": "Two visits a week.",
            "status": "agreed" if version.agreed else "draft",
            "labels": ["health"] if version.labelled else [],
        }
        made = await self.do(version.author, "PUT", f"{self.path(key)}/plan", body)
        self.ids[version.key] = UUID(made["id"])
        self.describe(key, plans=(*self.records[key].plans, version))

    async def contact(self, key: str, who: str, by: str = "leader") -> None:
        """Name the primary contact."""
        body = {"person_id": str(self.staff[who].id)}
        await self.do(by, "PUT", f"{self.path(key)}/primary-contact", body)
        self.describe(key, contact=who)

    async def member(self, key: str, who: str) -> None:
        """Name a team member."""
        body = {"person_id": str(self.staff[who].id)}
        await self.do("lead", "POST", f"{self.path(key)}/team", body)
        self.describe(key, team=(*self.records[key].team, who))

    async def end(self, key: str, lead: str = "lead") -> None:
        """Close a case."""
        await self.do(lead, "POST", f"{self.path(key)}/close", {"outcome": "Attends again."})
        self.describe(key, status="closed")

    async def enrol(self, student: str, school: str | None) -> None:
        """Let a learner be at another school."""
        await self.world.enrol(self.ids[student], self.ids[school] if school else None)
        for key, rec in self.records.items():
            if rec.student == student:
                self.describe(key, now_at=school)


async def people(atlas: Atlas) -> None:
    """Take everybody of the region into the atlas, and people with less usual posts."""
    region, world = atlas.region, atlas.world
    places = {SCHOOL: region.school, OTHER_SCHOOL: region.other_school}
    places |= {ASP: region.asp, OTHER_ASP: region.other_asp}
    ministry = await world.organisation(OrganisationKind.MINISTRY, "The Ministry")
    atlas.ids |= {**places, "ministry": ministry}
    atlas.ids |= {"student": region.student, "other_student": region.other_student}
    named = {found: name for name, found in places.items()}
    for person in region.everybody:
        where = named.get(person.organisation_id, "ministry")
        atlas.known(person.name.replace("-", "_"), person, where)

    async def hire(key: str, role: Role, where: str, **more: Any) -> Staff:  # noqa: ANN401 - as staff
        found = await world.staff(key, role, atlas.ids[where], **more)
        atlas.known(key, found, where)
        return found

    await hire("other_contact", Role.PRIMARY_CONTACT, OTHER_SCHOOL)
    await hire("other_office", Role.SCHOOL_OFFICE, OTHER_SCHOOL)
    await hire("administrator", Role.ADMINISTRATOR, "ministry")
    await hire("analyst", Role.SECURITY_ANALYST, "ministry")
    await hire("relief", Role.SCHOOL_LEADER, SCHOOL, until=world.now() + timedelta(hours=1))
    await hire("revoked", Role.ASP_CASE_MANAGER, ASP)
    # both: leads one school and works for the provider that serves another one
    both = await hire("both", Role.SCHOOL_LEADER, OTHER_SCHOOL)
    post = await world.also(both, Role.ASP_CASE_MANAGER, region.asp)
    atlas.known("both_at_asp", post, ASP, "both")
    # pair: sits in a school's office and in the Central Investigation Team
    pair = await hire("pair", Role.SCHOOL_OFFICE, SCHOOL)
    post = await world.also(pair, Role.CENTRAL_INVESTIGATION, ministry)
    atlas.known("pair_in_team", post, "ministry", "pair")
    # twice: leads a school and sits in the Central Investigation Team
    twice = await hire("twice", Role.SCHOOL_LEADER, SCHOOL)
    post = await world.also(twice, Role.CENTRAL_INVESTIGATION, ministry)
    atlas.known("twice_in_team", post, "ministry", "twice")
    # moved: was a primary contact at the one school and is one at the other now
    await hire("moved", Role.PRIMARY_CONTACT, SCHOOL)
    for student, school in (("gone", SCHOOL), ("nowhere", SCHOOL), ("passed_on", OTHER_SCHOOL)):
        atlas.ids[student] = await world.student(atlas.ids[school], student.title(), "Parata")
    atlas.ids["busy"] = await world.student(region.school, "Aroha", "Busy")


async def requests(atlas: Atlas) -> None:
    """Make requests in every state."""
    await atlas.request("draft", "leader", "student")
    await atlas.request("draft_of_contact", "contact", "student")
    await atlas.request("draft_of_office", "office", "student")
    await atlas.request("submitted", "contact", "student", "submitted")
    await atlas.request("submitted_by_moved", "moved", "student", "submitted")
    await atlas.request("accepted", "leader", "student", "accepted")
    await atlas.request("declined", "contact", "student", "declined")
    await atlas.request("allocated", "office", "student", "allocated")
    await atlas.request("elsewhere", "other_leader", "other_student", "submitted")
    for stage in ("draft", "submitted", "allocated"):
        key = f"withdrawn_{stage}"
        await atlas.request(key, "leader", "student", stage)
        await atlas.do("leader", "POST", f"{atlas.path(key)}/withdraw")
        atlas.describe(key, status="withdrawn")
    await atlas.request("deleted", "leader", "student")
    await atlas.do("leader", "DELETE", atlas.path("deleted"))
    atlas.describe("deleted", status="deleted")


async def ended(atlas: Atlas) -> None:
    """Open cases of one learner that are over by now."""
    await atlas.case("closed_elsewhere", "leader", "busy", "other_manager", OTHER_ASP)
    await atlas.end("closed_elsewhere", "other_lead")
    await atlas.case("closed", "contact", "busy", "colleague")
    await atlas.contact("closed", "contact")
    await atlas.member("closed", "member")
    await atlas.item("closed", Thing("closed.shared", "colleague", shared=True))
    await atlas.item("closed", Thing("closed.comment", "leader", "comment"))
    await atlas.plan("closed", Version("closed.plan", "colleague", agreed=True))
    await atlas.end("closed")
    await atlas.case("in_error", "leader", "busy", "manager")
    await atlas.item("in_error", Thing("in_error.comment", "leader", "comment"))
    body = {"reason": "The wrong learner."}
    await atlas.do("lead", "DELETE", atlas.path("in_error"), body)
    atlas.describe("in_error", status="withdrawn")
    atlas.describe("in_error.request", provider=None, manager=None)


HEALTH: Final = (("health", "manager"),)
ITEMS: Final = (
    Thing("note", "manager"),
    Thing("shared", "manager", "correspondence", shared=True),
    Thing("document", "lead", "document", shared=True),
    Thing("labelled", "manager", labels=HEALTH),
    Thing("labelled_shared", "manager", "document", shared=True, labels=HEALTH),
    Thing("summarised", "manager", "activity", labels=HEALTH, summary=True),
    Thing("summarised_shared", "manager", shared=True, labels=HEALTH, summary=True),
    Thing("labelled_by_lead", "manager", labels=(("allegation", "lead"), ("finance", "lead"))),
    Thing("leaders", "leader", "comment"),
    Thing("leaders_document", "leader", "document"),
    Thing("contacts", "contact", "comment"),
    Thing("offices", "office", "comment"),
)


async def active(atlas: Atlas) -> None:
    """Open cases that go on."""
    await atlas.case("active", "leader", "busy", "manager")
    await atlas.contact("active", "second_contact")
    await atlas.contact("active", "contact", "office")
    await atlas.member("active", "member")
    for item in ITEMS:
        if item.key == "labelled_by_lead":
            await atlas.item("active", replace(item, author="manager", labels=()))
            labels = {"labels": [label for label, _ in item.labels]}
            path = f"{atlas.path('active')}/items/{atlas.ids[item.key]}"
            await atlas.do("lead", "PATCH", path, labels)
            kept = atlas.records["active"].items[:-1]
            atlas.describe("active", items=(*kept, item))
        else:
            await atlas.item("active", item)
    # the leader's own comment, labelled by the manager afterwards
    await atlas.item("active", Thing("hushed", "leader", "comment"))
    path = f"{atlas.path('active')}/items/{atlas.ids['hushed']}"
    await atlas.do("manager", "PATCH", path, {"labels": ["safeguarding"]})
    hushed = Thing("hushed", "leader", "comment", labels=(("safeguarding", "manager"),))
    atlas.describe("active", items=(*atlas.records["active"].items[:-1], hushed))
    for version in (
        Version("plan_draft", "manager"),
        Version("plan_agreed", "lead", agreed=True),
        Version("plan_labelled", "manager", agreed=True, labelled=True),
    ):
        await atlas.plan("active", version)


async def went_on(atlas: Atlas) -> None:
    """Open cases that changed hands."""
    await atlas.case("reassigned", "leader", "student", "manager")
    await atlas.item("reassigned", Thing("reassigned.note", "manager"))
    await atlas.do(
        "lead",
        "POST",
        f"{atlas.path('reassigned')}/assign",
        {"person_id": str(atlas.staff["colleague"].id)},
    )
    for key in ("reassigned", "reassigned.request"):
        atlas.describe(key, manager="colleague")
    await atlas.case("moved_on", "office", "student", "manager")
    await atlas.member("moved_on", "member")
    await atlas.item("moved_on", Thing("moved_on.note", "manager", shared=True))
    await atlas.do(
        "team",
        "POST",
        f"{atlas.path('moved_on')}/move",
        {"organisation_id": str(atlas.ids[OTHER_ASP])},
    )
    atlas.describe("moved_on", provider=OTHER_ASP, manager=None, team=())
    atlas.describe("moved_on.request", provider=OTHER_ASP, manager=None)
    await atlas.case("of_both", "leader", "student", "both_at_asp")
    await atlas.item("of_both", Thing("of_both.note", "both_at_asp"))
    await atlas.case("of_revoked", "leader", "student", "revoked")
    await atlas.case("at_other_school", "other_leader", "other_student", "other_manager", OTHER_ASP)
    await atlas.contact("at_other_school", "other_contact", "other_leader")
    for key, student in (("left", "gone"), ("left_closed", "gone"), ("without", "nowhere")):
        await atlas.case(key, "contact", student, "manager")
        await atlas.contact(key, "contact")
        await atlas.item(key, Thing(f"{key}.shared", "manager", shared=True))
        await atlas.item(key, Thing(f"{key}.comment", "leader", "comment"))
        await atlas.item(key, Thing(f"{key}.twice", "twice", "comment"))
    await atlas.end("left_closed")
    # passed_on was helped at another school before: that file does not come along
    await atlas.case("before", "other_leader", "passed_on", "other_manager", OTHER_ASP)
    await atlas.end("before", "other_lead")
    await atlas.enrol("passed_on", SCHOOL)
    await atlas.case("after", "leader", "passed_on", "manager")
    await atlas.enrol("gone", OTHER_SCHOOL)
    await atlas.enrol("nowhere", None)


async def endings(atlas: Atlas) -> None:
    """Let posts end."""
    world = atlas.world
    await world.revoke(atlas.staff["revoked"])
    position = await world.revoke(atlas.staff["moved"])
    atlas.gone("revoked")
    atlas.gone("moved")
    await world.cases.runtime.projector.reached(position)
    post = await world.also(atlas.staff["moved"], Role.PRIMARY_CONTACT, atlas.ids[OTHER_SCHOOL])
    atlas.known("moved_to_other", post, OTHER_SCHOOL, "moved")
    world.clock.advance(timedelta(hours=2))  # relief's post has ended by itself
    atlas.gone("relief")


@asynccontextmanager
async def drawn(world: World) -> AsyncIterator[Atlas]:
    """Draw the whole atlas."""
    atlas = Atlas(await make_region(world))
    for stage in (people, requests, ended, active, went_on, endings):
        await stage(atlas)
    yield atlas
