"""Deliveries: every invitation reaches its person, and a changed address is no way in."""

import asyncio
from datetime import timedelta
from http import HTTPStatus
from uuid import UUID

import pytest

from services.authz import app
from services.authz.channels import Letter, Undelivered
from services.authz.deliveries import SETTLES
from services.authz.events import Role
from services.authz.invitations import INVITATION_LASTS
from services.authz.message_events import MAILBOX_SHARED, MESSAGE_DELIVERED, MESSAGE_UNDELIVERED
from services.kernel.errors import Unavailable
from services.kernel.keystore import KeyStore
from services.kernel.sealing import Sealed
from tests.authz.spooled import by_hand, delivered, invited, letters, reference_of
from tests.authz.staffed import MATAI, Region
from tests.conftest import Clock
from tests.emptied import empty

__all__ = ["by_hand"]

WHY = {"reason": "Device lost"}
NEW = "somebody.new@school.example"


class Stub:
    """A channel under the test's control."""

    name = "stub"

    def __init__(self, *answers: Undelivered | None) -> None:
        self.answers = list(answers)
        self.letters: list[Letter] = []

    async def deliver(self, letter: Letter) -> None:
        """Take the letter, or do what was told."""
        await asyncio.sleep(0)
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer
        self.letters.append(letter)


def _through(region: Region, monkeypatch: pytest.MonkeyPatch, stub: Stub) -> Stub:
    monkeypatch.setattr(region.authz.courier, "_channel", stub)
    return stub


async def _reset(region: Region, of: str, who: str = "leader") -> None:
    answer = await region.call(who, "POST", f"/v1/people/{region.people[of]}/reset", WHY)
    assert answer.status_code == HTTPStatus.OK, answer.text


async def _move(region: Region, of: str, to: str, who: str = "leader") -> int:
    path = f"/v1/people/{region.people[of]}"
    tag = (await region.call(who, "GET", path)).headers["etag"]
    answer = await region.call(who, "PATCH", path, {"email": to}, headers={"if-match": tag})
    return answer.status_code


async def _register(region: Region, email: str, username: str = "aroha") -> int:
    body = {
        "username": username,
        "given_name": "Aroha",
        "family_name": "Ngata",
        "email": email,
        "organisation_id": str(region.organisations[MATAI]),
    }
    answer = await region.call("leader", "POST", "/v1/people", body)
    if answer.status_code == HTTPStatus.CREATED:
        region.people[username] = UUID(answer.json()["id"])
    return answer.status_code


async def test_what_a_process_did_not_deliver_another_one_does_by_itself(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Durable: the intent is in the log before anything is sent."""
    await _reset(region, "office")
    monkeypatch.setattr(app, "_DELIVERY_S", 0.05)
    other = await region.another()
    async with asyncio.timeout(20):
        while not await region.log(MESSAGE_DELIVERED):
            await asyncio.sleep(0.1)

    assert await other.courier.sweep() == 0
    (event,) = [r.event for r in await region.log(MESSAGE_DELIVERED)]
    (letter,) = letters(region.installation.data)
    assert event.data["message_id"] == str(reference_of(letter))
    assert event.data["channel"] == "spool"
    assert event.organisation_id == region.organisations[MATAI]


async def test_a_refused_letter_is_tried_again_later_and_later(
    region: Region, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each failure is a fact that says why, and nothing that was quoted."""
    stub = _through(region, monkeypatch, Stub(*[Undelivered("ConnectionRefusedError")] * 2))
    await _reset(region, "office")
    tried = [await region.authz.courier.sweep() for _ in range(2)]
    for seconds in (59, 1, 119, 1):
        clock.advance(timedelta(seconds=seconds))
        tried.append(await region.authz.courier.sweep())

    assert tried == [1, 0, 0, 1, 0, 1]
    assert [letter.to for letter in stub.letters] == ["office@school.example"]
    failed = await region.log(MESSAGE_UNDELIVERED)
    assert [r.event.data["reason"] for r in failed] == ["ConnectionRefusedError"] * 2
    assert [r.event.outcome for r in failed] == ["failed"] * 2
    assert not [r for r in failed if b"office@" in r.body]


async def test_a_letter_whose_record_was_lost_goes_out_again_as_the_same_one(
    region: Region, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At least once, and recognisable: a crash between channel and log."""
    stub = _through(region, monkeypatch, Stub())
    await _reset(region, "office")
    log = type(region.authz.runtime.log)
    with monkeypatch.context() as lost:

        async def unavailable(*_: object) -> int:
            raise Unavailable

        lost.setattr(log, "append", unavailable)
        with pytest.raises(Unavailable):
            await region.authz.courier.sweep()
    clock.advance(timedelta(seconds=60))

    assert await region.authz.courier.sweep() == 1
    assert len(stub.letters) == 2
    assert len({letter.id for letter in stub.letters}) == 1
    assert len(await region.log(MESSAGE_DELIVERED)) == 1


async def test_two_processes_deliver_each_letter_once(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub, other = Stub(), await region.another()
    _through(region, monkeypatch, stub)
    monkeypatch.setattr(other.courier, "_channel", stub)
    for name in ("office", "contact"):
        await _reset(region, name)

    tried = await asyncio.gather(region.authz.courier.sweep(), other.courier.sweep())

    assert sum(tried) == 2
    assert len(stub.letters) == len({letter.id for letter in stub.letters}) == 2


async def test_what_nobody_took_in_a_week_is_given_up(
    region: Region, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An invitation that has expired is not sent; that it never was is on record."""
    stub = _through(region, monkeypatch, Stub(Undelivered("TimeoutError")))
    await _reset(region, "office")
    await region.authz.courier.sweep()
    clock.advance(INVITATION_LASTS)

    assert [await region.authz.courier.sweep() for _ in range(2)] == [1, 0]
    assert not stub.letters
    last = (await region.log(MESSAGE_UNDELIVERED))[-1].event
    assert (last.data["reason"], last.data["final"]) == ("expired", True)


async def _later(region: Region, clock: Clock, by: timedelta) -> None:
    clock.advance(by)
    await region.sign_in("leader")


async def _addressees(region: Region) -> list[tuple[str, str]]:
    return [
        (letter["to"], str(letter["subject"]).removeprefix("Your Casewarden "))
        for letter in await delivered(region)
    ]


async def test_another_address_serves_only_once_the_old_one_was_told_and_had_time(
    region: Region, clock: Clock
) -> None:
    """AC-DO-13 is no way into an account: by a leader, changed twice, as reset at once."""
    assert await _move(region, "office", "first@evil.example") == HTTPStatus.OK
    await _later(region, clock, SETTLES - timedelta(seconds=1))
    assert await _move(region, "office", NEW) == HTTPStatus.OK
    await _reset(region, "office")
    early = await _addressees(region)
    await _later(region, clock, SETTLES)
    await _reset(region, "office")

    old = "office@school.example"
    assert sorted(early) == [
        (old, "address was changed"),
        (old, "address was changed"),
        (old, "invitation"),
    ]
    assert (await _addressees(region))[3:] == [(NEW, "invitation")]
    token = (await delivered(region))[0].get_content()
    assert NEW not in token


async def test_ones_own_address_serves_as_late_as_one_that_others_changed(
    region: Region,
) -> None:
    """A stolen session moves no invitation either; and what is no change tells nobody."""
    tag = (await region.call("office", "GET", "/v1/me")).headers["etag"]
    head = {"if-match": tag}
    moved = await region.call("office", "PATCH", "/v1/me", {"email": NEW}, headers=head)
    head = {"if-match": moved.headers["etag"]}
    same = await region.call(
        "office", "PATCH", "/v1/me", {"email": NEW, "phone": "04 000"}, headers=head
    )
    await _reset(region, "office")

    assert (moved.status_code, same.status_code) == (HTTPStatus.OK, HTTPStatus.OK)
    old = "office@school.example"
    assert await _addressees(region) == [(old, "address was changed"), (old, "invitation")]


async def test_a_mistyped_address_is_corrected_at_once_and_its_invitation_taken_back(
    region: Region,
) -> None:
    """SG-4: before anybody enrolled there is no account to take, and a stranger holds a letter."""
    assert await _register(region, "typo@elsewhere.example") == HTTPStatus.CREATED
    strangers = await invited(region)
    assert await _move(region, "aroha", NEW) == HTTPStatus.OK
    used = await region.call(
        "admin",
        "POST",
        "/v1/enrolment",
        {"invitation": strangers, "password": "granite-otter-lantern-94-quilt"},
    )
    await _reset(region, "aroha")

    assert used.status_code == HTTPStatus.UNAUTHORIZED
    assert [to for to, _ in await _addressees(region)] == ["typo@elsewhere.example", NEW]


async def test_nobody_gives_somebody_else_their_own_address(region: Region) -> None:
    """SG-4: no account has two persons behind it, and no invitation comes back to who caused it."""
    assert await _register(region, "Leader@School.example") == HTTPStatus.CONFLICT
    assert await _move(region, "office", "leader@school.EXAMPLE") == HTTPStatus.CONFLICT
    assert await _register(region, NEW) == HTTPStatus.CREATED


async def test_ones_former_address_is_ones_own_while_messages_still_go_there(
    region: Region, clock: Clock
) -> None:
    """SG-4: neither before it has settled, nor with a tag, nor the one that is to come."""
    head = {"if-match": (await region.call("leader", "GET", "/v1/me")).headers["etag"]}
    mine = {"email": "me@school.example"}
    moved = await region.call("leader", "PATCH", "/v1/me", mine, headers=head)
    assert moved.status_code == HTTPStatus.OK
    for own in ("leader@school.example", "Leader+o@school.example", "me+1@school.example"):
        assert await _register(region, own) == HTTPStatus.CONFLICT, own
        assert await _move(region, "office", own) == HTTPStatus.CONFLICT, own
    assert await _register(region, "leaders@school.example") == HTTPStatus.CREATED
    await delivered(region)
    await _later(region, clock, SETTLES)
    assert await _register(region, "me@school.example", "second") == HTTPStatus.CONFLICT


async def test_a_change_settles_from_when_the_former_address_was_told(
    region: Region, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AC-DO-13: a mail server that is away for days shortens nobody's time, changed twice too."""
    stub = _through(region, monkeypatch, Stub(*[Undelivered("TimeoutError")] * 2))
    await _move(region, "office", "first@evil.example")
    await region.authz.courier.sweep()
    await _later(region, clock, SETTLES)
    await _reset(region, "office")
    await region.authz.courier.sweep()
    await _move(region, "office", NEW)
    await _later(region, clock, SETTLES)
    await region.authz.courier.sweep()
    for wait in (SETTLES - timedelta(seconds=1), timedelta(seconds=1)):
        await _later(region, clock, wait)
        await _reset(region, "office")
        await region.authz.courier.sweep()

    kinds = [
        (letter.to, letter.subject.removeprefix("Your Casewarden ")) for letter in stub.letters
    ]
    old = "office@school.example"
    assert sorted(kinds[:-2]) == [
        (old, "address was changed"),
        (old, "address was changed"),
        (old, "invitation"),
    ]
    assert kinds[-2:] == [(old, "invitation"), (NEW, "invitation")]


async def test_a_change_whose_notice_was_given_up_never_settles(
    region: Region, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AC-DO-13: until another change is told; rebuilt, it is the same."""
    refused = Undelivered("SMTPRecipientsRefused", final=True)
    stub = _through(region, monkeypatch, Stub(refused))
    await _move(region, "office", "first@evil.example")
    await region.authz.courier.sweep()
    await region.authz.runtime.projector.rebuild()
    await _later(region, clock, 2 * SETTLES)
    await _reset(region, "office")
    await region.authz.courier.sweep()
    await _move(region, "office", NEW)
    await region.authz.courier.sweep()
    await region.authz.runtime.projector.rebuild()
    await _later(region, clock, SETTLES)
    await _reset(region, "office")
    await region.authz.courier.sweep()

    old = "office@school.example"
    assert [letter.to for letter in stub.letters] == [old, old, NEW]


@pytest.mark.parametrize(
    "address",
    ["a@b.example,c@d.example", "a@b.example;c@d.example", "<a@b.example>", '"a b"@c.example'],
)
async def test_an_address_is_one_mailbox(region: Region, address: str) -> None:
    """What a mail server could read as two goes to somebody else, too."""
    assert await _register(region, address) == HTTPStatus.UNPROCESSABLE_ENTITY


async def test_rebuilt_deliveries_equal_the_live_ones(region: Region, clock: Clock) -> None:
    """Design: a projection can be dropped and rebuilt, passwords and mass resets included."""
    stub = Stub(*[Undelivered("TimeoutError")] * 3)
    region.authz.courier._channel = stub
    place = region.organisations[MATAI]
    await region.call("leader", "POST", f"/v1/organisations/{place}/reset", WHY)
    await _register(region, "typo@elsewhere.example")
    await _move(region, "aroha", NEW)
    await _move(region, "contact", NEW)
    await _later(region, clock, SETTLES)
    await _move(region, "contact", "third@school.example")
    await region.authz.courier.sweep()
    await _reset(region, "office")
    tables = ("authz.address", "authz.delivery", "authz.credential_reset", "authz.account")
    pool, live = region.authz.runtime.pool, {}
    for table in tables:
        live[table] = await pool.fetch(f"select t::text from {table} t order by 1")
    assert all(live.values())

    await region.authz.runtime.projector.rebuild()

    for table in tables:
        assert await pool.fetch(f"select t::text from {table} t order by 1") == live[table], table


async def test_two_accounts_of_one_mailbox_are_told_to_security_and_to_nobody_else(
    region: Region,
) -> None:
    """SG-4: no shared accounts, and whoever registers learns of no address; nor does the log."""
    for name, email in (("one", "CONTACT+one@school.example"), ("two", NEW), ("three", NEW)):
        assert await _register(region, email, name) == HTTPStatus.CREATED

    assert len(await delivered(region)) == 3

    told = [r.event for r in await region.log(MAILBOX_SHARED)]
    people = {name: str(region.people[name]) for name in ("one", "two", "three", "contact")}
    pairs = [(event.data["person_id"], event.object.id) for event in told if event.object]
    assert sorted(pairs) == sorted(
        (people[invited], people[other])
        for invited, other in (("one", "contact"), ("two", "three"), ("three", "two"))
    )
    for event in told:
        assert set(event.data) == {"person_id"}
        assert event.organisation_id is event.actor.organisation_id is event.actor.person_id is None


async def test_a_mailbox_whose_other_account_opens_nothing_any_more_is_nobody_elses(
    region: Region,
) -> None:
    """SG-4: who left one organisation and begins at another has one mailbox and one account."""
    assert (await region.revoke("leader", "contact")).status_code == HTTPStatus.NO_CONTENT
    assert await _register(region, "contact@school.example") == HTTPStatus.CREATED

    assert len(await delivered(region)) == 1

    assert not await region.log(MAILBOX_SHARED)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> set[UUID]:
    """Note whose sealed values are opened out of a projection."""
    subjects: set[UUID] = set()
    open_sealed = KeyStore.open_sealed

    def noted(self: KeyStore, sealed: Sealed) -> str:
        subjects.add(sealed.ref.subject)
        return open_sealed(self, sealed)

    monkeypatch.setattr(KeyStore, "open_sealed", noted)
    return subjects


async def _shared_since(region: Region, known: int) -> set[tuple[str, str]]:
    told = [r.event for r in (await region.log(MAILBOX_SHARED))[known:]]
    return {(event.data["person_id"], event.object.id) for event in told if event.object}


async def test_an_invitation_opens_the_addresses_that_changed_and_no_others(
    region: Region, opened: set[UUID], clock: Clock
) -> None:
    """SG-4, SG-6: a mailbox is known again without opening everybody's; for a day, no longer."""
    people, courier = region.people, region.authz.courier
    assert (await region.revoke("leader", "contact")).status_code == HTTPStatus.NO_CONTENT
    await _reset(region, "office")
    opened.clear()
    await courier.sweep()
    assert opened > {people["office"], people["leader"]}
    assert people["contact"] not in opened
    # who had left is back
    await region.hold("contact", Role.PRIMARY_CONTACT, MATAI)
    assert await _register(region, "Contact+one@school.example") == HTTPStatus.CREATED
    opened.clear()
    await courier.sweep()
    assert opened == {people["aroha"], people["contact"]}
    assert await _shared_since(region, 0) == {(str(people["aroha"]), str(people["contact"]))}

    secret = courier._mailboxes._secret
    await _later(region, clock, timedelta(days=1))
    await _reset(region, "aroha")
    opened.clear()
    await courier.sweep()
    assert opened > {people["aroha"], people["contact"], people["office"]}
    assert courier._mailboxes._secret != secret
    assert await _shared_since(region, 1) == {(str(people["aroha"]), str(people["contact"]))}


async def test_a_mailbox_is_whose_it_is_now(region: Region) -> None:
    """SG-4: of an address that was given up nobody is told, and of a new one everybody."""
    people = region.people
    assert await _register(region, "typo@school.example", "one") == HTTPStatus.CREATED
    await region.authz.courier.sweep()
    assert await _move(region, "one", NEW) == HTTPStatus.OK
    for name, email in (("two", "typo@school.example"), ("three", NEW)):
        assert await _register(region, email, name) == HTTPStatus.CREATED
        await region.authz.courier.sweep()

    assert await _shared_since(region, 0) == {(str(people["three"]), str(people["one"]))}


async def test_mailboxes_are_known_after_a_rebuild(region: Region) -> None:
    """Design: rows folded anew are looked at anew."""
    await _reset(region, "office")
    await region.authz.courier.sweep()
    mailboxes, projector = region.authz.courier._mailboxes, region.authz.runtime.projector
    mailboxes._people.clear()
    await projector.stop()
    await empty(projector, "authz.deliveries")
    assert await mailboxes.others(region.people["leader"], "office@school.example") == frozenset()
    await projector.caught_up()
    assert await mailboxes.others(region.people["leader"], "office@school.example") == {
        region.people["office"]
    }
