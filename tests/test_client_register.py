"""``casewarden clients``: who holds an installation adds, lists and ends the systems that ask."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from prometheus_client import REGISTRY

from services.authz import app
from services.authz import client_events as c
from services.authz.client_public_keys import UnfitKey, registrable
from services.authz.client_register import NotDone, Wanted, end, id_of, register, registered
from services.kernel.events import Event
from services.kernel.groups import Group
from services.kernel.log import Log
from services.kernel.runtime import Installation
from tests.authz.door import HOME, Door, opened
from tests.conftest import Clock, Connect
from tests.forked import Forks, forks
from tests.test_cli import environment, free_port, refused, wait_for

GRANT = {"grant_type": "client_credentials"}
BY_ASSERTION = {
    **GRANT,
    "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
}

Key = Ed25519PrivateKey | x25519.X25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@pytest.fixture(scope="module")
def forked() -> Iterator[Forks]:
    with forks() as forked:
        yield forked


@pytest.fixture
async def door(installation: Installation, clock: Clock) -> AsyncIterator[Door]:
    async with opened(installation, clock) as door:
        yield door


def public(key: Key) -> bytes:
    """Return the public half as PEM."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def private(key: Key) -> bytes:
    """Return a private key as PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def told(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Return what ``clients add`` printed."""
    assert done.returncode == 0, done.stderr
    return dict(line.split(maxsplit=1) for line in done.stdout.splitlines())


@pytest.fixture
def apart(installation: Installation, tmp_path: Path) -> Iterator[dict[str, httpx.Client]]:
    """Serve authz and audit, each in a process of its own; what they say is in ``*.err``."""
    with ExitStack() as stack:
        served = {}
        for service in ("authz", "audit"):
            port = free_port()
            environ = {**environment(installation), "CASEWARDEN_PORT": str(port)}
            with (tmp_path / f"{service}.err").open("wb") as said:
                command = [sys.executable, "-m", "services.cli", "serve", service]
                process = subprocess.Popen(command, env=environ, stderr=said)
            stack.callback(process.wait, 30)
            stack.callback(process.send_signal, signal.SIGTERM)
            base = f"http://127.0.0.1:{port}/{service}"
            served[service] = stack.enter_context(httpx.Client(base_url=base, timeout=30)), port
        for _, port in served.values():
            wait_for(port, "/healthz", 200)
        yield {service: client for service, (client, _) in served.items()}


async def everything_kept(installation: Installation, connect: Connect) -> bytes:
    """Return every row of every table as text, bytes in hexadecimal, and every file."""
    kept = [p.read_bytes() for p in installation.data.rglob("*") if p.is_file()]
    for keys in (False, True):
        owner = await connect(None, keys=keys)
        tables = await owner.fetch(
            "select oid::regclass::text as name from pg_class where relkind = 'r' and"
            " relnamespace::regnamespace::text not in ('pg_catalog', 'information_schema')"
        )
        for table in tables:
            rows = await owner.fetch(f"select t::text as line from {table['name']} t")
            kept.extend(row["line"].encode() for row in rows)
    return b"\n".join(kept)


async def test_a_client_reads_until_it_is_ended_and_then_no_process_answers_it(
    installation: Installation,
    connect: Connect,
    forked: Forks,
    apart: dict[str, httpx.Client],
    tmp_path: Path,
) -> None:
    """AC-SHARE-7, SG-3, SG-18: processes agree; the secret is shown once and kept nowhere."""
    environ = environment(installation)
    done = forked.run(environ, ["clients", "add", "Security Watch", "--scope", "audit.read"])
    made = told(done)
    client_id, secret = made["client_id"], made["client_secret"]
    assert client_id == "security-watch"
    assert "shown this once" in done.stdout
    assert secret not in done.stderr
    as_client = (client_id, secret)

    answer = apart["authz"].post("/v1/token", data=GRANT, auth=as_client)
    assert (answer.status_code, answer.json()["scope"]) == (200, "audit.read")
    headers = {"authorization": f"Bearer {answer.json()['access_token']}"}
    before = apart["audit"].get("/v1/events", params={"type": c.CLIENT_REGISTERED}, headers=headers)
    (event,) = before.json()["items"]
    assert event["actor"] == {"person_id": None, "client_id": None, "organisation_id": None}
    assert (event["action"], event["object"]["id"]) == ("create", client_id)

    ended = forked.run(environ, ["clients", "end", client_id, "--reason", "Contract 7 is over"])
    after = apart["audit"].get("/v1/events", headers=headers)
    again = apart["authz"].post("/v1/token", data=GRANT, auth=as_client)

    assert ended.returncode == 0, ended.stderr
    assert (after.status_code, after.json()["code"]) == (401, "unauthenticated")
    assert (again.status_code, again.json()["error"]) == (401, "invalid_client")
    listed = forked.run(environ, ["clients", "list"])
    head, line = listed.stdout.splitlines()
    assert head.split() == ["client_id", "name", "organisation", "scopes", "by", "since", "ended"]
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    for said in ("Security Watch", " - ", "audit.read", "client_secret_basic", today):
        assert said in line
    assert line.endswith("Contract 7 is over")
    assert forked.run(environ, ["verify"]).returncode == 0
    kept = await everything_kept(installation, connect)
    kept += b"".join((tmp_path / f"{name}.err").read_bytes() for name in apart)
    digest = sha256(secret.encode()).hexdigest()
    assert b"Security Watch".hex().encode() in kept
    for clear in (secret, digest, "Contract 7 is over"):
        assert clear.encode() not in kept
        assert clear.encode().hex().encode() not in kept


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (Ed25519PrivateKey.generate(), "EdDSA"),
        (ec.generate_private_key(ec.SECP256R1()), "ES256"),
        (rsa.generate_private_key(65537, 2048), "RS256"),
    ],
    ids=["Ed25519", "P-256", "RSA"],
)
async def test_a_client_with_a_key_signs_by_its_algorithm_and_has_no_secret(
    installation: Installation,
    door: Door,
    forked: Forks,
    tmp_path: Path,
    key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
    algorithm: str,
) -> None:
    """RFC 7523, 3: nothing that lets it in is ours to lose."""
    environ, pem = environment(installation), tmp_path / "client.pem"
    pem.write_bytes(public(key))
    add = ["clients", "add", "Ōtara feed", "--scope", "feeds", "--public-key", str(pem)]
    done = await forked.beside(environ, add)
    made = told(done)
    assert made["client_id"] == "otara-feed"
    assert "client_secret" not in made
    assert algorithm in done.stdout
    claims = {
        "iss": "otara-feed",
        "sub": "otara-feed",
        "aud": "casewarden",
        "exp": int(door.clock.now().timestamp()) + 60,
        "jti": "one",
    }
    form = {**BY_ASSERTION, "client_assertion": jwt.encode(claims, key, algorithm)}

    signed = await door.at(HOME).post("/v1/token", data=form)
    guesses = [
        await door.at(HOME).post("/v1/token", data=GRANT, auth=("otara-feed", secret))
        for secret in ("", "None", "a secret")
    ]

    assert (signed.status_code, signed.json()["scope"]) == (200, "feeds")
    assert [guess.status_code for guess in guesses] == [401] * 3
    listed = (await forked.beside(environ, ["clients", "list"])).stdout
    assert f"private_key_jwt ({algorithm})" in listed
    assert "client_secret_basic" not in listed


UNFIT = {
    "2048 to 8192 bits": public(rsa.generate_private_key(65537, 1024)),  # noqa: S505 - weak
    "public exponent": public(rsa.generate_private_key(3, 2048)),
    "curve P-256": public(ec.generate_private_key(ec.SECP384R1())),
    "not Ed25519": public(x25519.X25519PrivateKey.generate()),
    "private key": private(Ed25519PrivateKey.generate()),
    "no public key in PEM": b"-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----\n",
    "public key in PEM": b"",
}


@pytest.mark.parametrize("why", UNFIT)
def test_a_key_that_is_weak_or_unreadable_is_not_taken(why: str) -> None:
    """RFC 7518, 3.3; the reason quotes nothing of the file."""
    with pytest.raises(UnfitKey, match=why):
        registrable(UNFIT[why])


async def stored(owner: asyncpg.Connection, keys: asyncpg.Connection) -> tuple[int, int]:
    """Return how many events and how many data keys there are."""
    return (
        await owner.fetchval("select count(*) from log.event"),
        await keys.fetchval("select count(*) from keys.data_key"),
    )


async def test_what_cannot_be_registered_is_one_line_and_stores_nothing(
    installation: Installation, connect: Connect, forked: Forks, tmp_path: Path
) -> None:
    """SG-1: no client by mistake, and no key that anybody can sign for."""
    environ = environment(installation)
    scoped = ["--scope", "audit.read"]
    for name in ("Watch", "Gone"):
        assert forked.run(environ, ["clients", "add", name, *scoped]).returncode == 0
    gone = ["clients", "end", "gone", "--reason", "lost"]
    assert forked.run(environ, gone).returncode == 0
    weak, nobody = tmp_path / "weak.pem", str(uuid4())
    weak.write_bytes(UNFIT["2048 to 8192 bits"])
    new = ["clients", "add", "New", *scoped]
    refusals = [
        ("no scope everything", [*new, "--scope", "everything"]),
        (f"no organisation {nobody}", [*new, "--organisation", nobody]),
        ("watch is taken", ["clients", "add", " WATCH! ", *scoped]),
        ("gone is taken", ["clients", "add", "Gone", *scoped]),
        ("neither a letter nor a digit", ["clients", "add", "—", *scoped]),
        ("reads like a person's id", ["clients", "add", nobody, *scoped]),
        ("NAME: ", ["clients", "add", "two\nlines", *scoped]),
        ("2048 to 8192 bits", [*new, "--public-key", str(weak)]),
        ("No such file", [*new, "--public-key", str(tmp_path / "absent")]),
        ("no client nobody", ["clients", "end", "nobody", "--reason", "lost"]),
        ("gone was ended", gone),
        ("--reason: ", ["clients", "end", "watch", "--reason", " "]),
    ]
    owner, keys = await connect(None), await connect(None, keys=True)
    before = await stored(owner, keys)

    for why, arguments in refusals:
        done = forked.run(environ, arguments)
        assert why in refused(done)
        assert done.stdout == ""
    for arguments in (
        ["clients", "add", "New"],
        ["clients", "add", *scoped],
        ["clients", "add", "New", *scoped, "--organisation", "the school"],
        ["clients", "end", "watch"],
    ):
        refused(forked.run(environ, arguments), 2)

    assert await stored(owner, keys) == before


async def test_of_two_who_take_one_name_at_once_one_has_it(door: Door) -> None:
    """Nobody's secret is replaced by another's."""
    wanted = Wanted("Watch", ("audit.read", "audit.read"))
    runtime = door.authz.runtime

    done = await asyncio.gather(
        *(register(runtime, wanted) for _ in range(2)), return_exceptions=True
    )

    assert sorted(type(one).__name__ for one in done) == ["NotDone", "Registered"]
    (made,) = (one for one in done if not isinstance(one, BaseException))
    (event,) = await door.of_type(c.CLIENT_REGISTERED)
    assert event.data["scopes"] == ["audit.read"]
    answer = await door.at(HOME).post(
        "/v1/token", data=GRANT, auth=(made.client_id, made.secret or "")
    )
    assert answer.status_code == 200


async def test_one_more_client_is_counted_and_an_ended_one_still(
    installation: Installation, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SG-10: what an alert is raised by; to add one and end it at once goes not unnoticed."""

    async def counted(clients: int) -> None:
        async with asyncio.timeout(10):
            while REGISTRY.get_sample_value("casewarden_service_clients") != clients:
                await asyncio.sleep(0.01)

    monkeypatch.setattr(app, "_COUNT_S", 0.02)
    async with opened(installation, clock) as door:
        await counted(0)
        await register(door.authz.runtime, Wanted("Watch", ("audit.read",)))
        await counted(1)
        await end(door.authz.runtime, "watch", "lost")
        await register(door.authz.runtime, Wanted("Watch 2", ("audit.read",)))
        await counted(2)


async def test_an_end_that_comes_first_lets_no_token_out(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Design, "fresh or refused": the token was decided upon a moment before."""
    runtime, append = door.authz.runtime, Log.append
    made = await register(runtime, Wanted("Watch", ("audit.read",)))
    overtaken: list[str] = []

    async def late(log: Log, group: Group) -> int:
        if group.events[0].type == c.CLIENT_TOKEN_ISSUED and not overtaken:
            overtaken.append(made.client_id)
            await end(runtime, made.client_id, "lost")
        return await append(log, group)

    monkeypatch.setattr(Log, "append", late)
    answer = await door.at(HOME).post(
        "/v1/token", data=GRANT, auth=(made.client_id, made.secret or "")
    )

    assert overtaken
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert await door.of_type(c.CLIENT_TOKEN_ISSUED) == []
    with pytest.raises(NotDone):
        await end(runtime, made.client_id, "again")


async def test_whose_a_client_is_stands_with_all_it_does(
    installation: Installation, door: Door, forked: Forks
) -> None:
    """AC-USE-1, SG-8: its organisation's own auditors find its registration, tokens and end."""
    environ, place = environment(installation), (await door.somebody()).organisation_id
    add = ["clients", "add", "Watch", "--scope", "audit.read", "--organisation", str(place)]
    made = told(await forked.beside(environ, add))
    auth = (made["client_id"], made["client_secret"])
    assert (await door.at(HOME).post("/v1/token", data=GRANT, auth=auth)).status_code == 200
    await end(door.authz.runtime, "watch", "lost")
    listed = await forked.beside(environ, ["clients", "list"])
    assert f"  {place}  " in listed.stdout

    types = (c.CLIENT_REGISTERED, c.CLIENT_TOKEN_ISSUED, c.CLIENT_REVOKED)
    events = [event for type_ in types for event in await door.of_type(type_)]

    assert [event.organisation_id for event in events] == [place] * 3
    assert events[1].actor.organisation_id == place


async def test_clients_of_an_older_log_are_listed_let_in_and_ended_as_ever(door: Door) -> None:
    """Stored bytes never change: no organisation, no reason, and a secret beside the key."""
    runtime = door.authz.runtime
    await register(runtime, Wanted("New", ("feeds",)))
    data: dict[str, Any] = {
        "client_id": "old_1",
        "name": "An old one",
        "scopes": ["feeds"],
        "secret": "sealed",
        "public_key": public(Ed25519PrivateKey.generate()).decode(),
    }
    facts = ((c.CLIENT_REGISTERED, data), (c.CLIENT_REVOKED, {"client_id": "old_1"}))
    for version, (type_, payload) in enumerate(facts, 1):
        event = Event(
            id=runtime.effects.new_id(),
            type=type_,
            stream=c.client_stream("old_1"),
            version=version,
            recorded_at=door.clock.now(),
            touches=(c.client_key("old_1"),),
            data=payload,
        )
        await door.append(Group([event]))

    new, old = await registered(runtime)

    assert (new.client_id, new.ended_at) == ("new", None)
    assert (old.name, old.organisation_id, old.reason) == ("An old one", None, None)
    assert old.ways == ("client_secret_basic", "private_key_jwt (EdDSA)")
    assert (old.since, old.ended_at) == (door.clock.now(), door.clock.now())


@pytest.mark.parametrize(
    ("name", "client_id"),
    [
        ("Attendance dashboard", "attendance-dashboard"),
        ("Te Tāhuhu / Feeds (2)", "te-tahuhu-feeds-2"),
        ("a" * 99 + " b", "a" * 99),
    ],
)
def test_an_id_follows_from_the_name_and_has_the_form_of_one(name: str, client_id: str) -> None:
    assert id_of(name) == client_id
    assert c.CLIENT_ID.fullmatch(client_id)
