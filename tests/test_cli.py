"""The ``casewarden`` command as somebody runs it: in a process of its own, over real databases."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import date
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit, urlunsplit
from urllib.request import urlopen

import asyncpg
import msgspec
import pytest
from click.testing import CliRunner

from services import demonstration as marker
from services import witness
from services.cases import events as cases
from services.cli import casewarden
from services.cli_exit import concerns
from services.commands import openapi
from services.installation import UserError
from services.kernel.events import Event, ObjectRef, Service
from services.kernel.groups import Group
from services.kernel.log import Log
from services.kernel.runtime import Installation
from services.verification import Wrong, verify
from services.verification.check import Check
from services.verification.tree import Tree
from tests.conftest import Connect, Pools
from tests.forked import Forks, forks

_COMMAND = [sys.executable, "-m", "services.cli"]
#: as a terminal starts it, even where the tests run under nohup
_HANGS_UP = [
    sys.executable,
    "-c",
    "import signal as s; s.signal(s.SIGHUP, s.SIG_DFL); from services import cli; cli.main()",
]


def environment(installation: Installation) -> dict[str, str]:
    """Return the environment of a command over a test's installation."""
    return {
        **os.environ,
        "CASEWARDEN_DATABASE_URL": installation.server.url,
        "CASEWARDEN_KEYS_URL": installation.server.keys_url,
        "CASEWARDEN_DATA": str(installation.data),
    }


@pytest.fixture(scope="module", autouse=True)
def _forks() -> Iterator[None]:
    with forks() as _Shared.forks:
        yield


class _Shared:
    """What the tests of this module fork their commands from."""

    forks: Forks


def run(environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, in a process that need not import it first."""
    return _Shared.forks.run(environ, arguments)


def run_cold(environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, from nothing, as a shell would."""
    return _ended([*_COMMAND, *arguments], environ, 60)


def run_code(
    code: str, *arguments: str, environ: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``code``, which runs the command in a way of its own, to its end."""
    return _ended([sys.executable, "-c", code, *arguments], environ, 30)


def _ended(
    command: Sequence[str], environ: dict[str, str] | None, within_s: float
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=environ, capture_output=True, text=True, timeout=within_s, check=False
    )


def refused(done: subprocess.CompletedProcess[str], status: int = 1) -> str:
    """Return the one plain line of a command that was refused."""
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.endswith("…")]
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.mark.parametrize("arguments", [["--help"], ["demo", "--help"], ["demo", "day", "--help"]])
def test_help_says_what_there_is(arguments: list[str]) -> None:
    result = CliRunner().invoke(casewarden, arguments)
    assert result.exit_code == 0
    assert "Usage:" in result.output


@pytest.mark.parametrize("group", [(), ("clients",), ("keys",)])
def test_a_group_without_a_command_shows_its_help_as_it_is(group: tuple[str, ...]) -> None:
    """Status 2 on standard error, as click has it, and a line for each command."""
    done = run({**os.environ}, *group)
    assert done.returncode == 2
    assert not done.stdout
    asked = run({**os.environ}, *group, "--help").stdout
    assert len(asked.splitlines()) > 5
    assert done.stderr == asked


def test_a_command_typed_wrong_is_one_line_and_status_2() -> None:
    assert "No such command" in refused(run_cold({**os.environ}, "serv"), 2)


def test_a_setting_that_cannot_be_read_is_named() -> None:
    line = refused(run({**os.environ, "CASEWARDEN_PORT": "eight"}, "verify"))
    assert "CASEWARDEN_PORT" in line


def test_a_database_that_cannot_be_reached_is_one_line(tmp_path: Path) -> None:
    environ = {
        **os.environ,
        "CASEWARDEN_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/casewarden",
        "CASEWARDEN_DATA": str(tmp_path),
    }
    assert "casewarden migrate" in refused(run(environ, "serve"))
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "roles").write_bytes(b"r" * 32)
    assert "cannot be reached" in refused(run(environ, "verify"))
    assert "cannot be reached" in refused(run(environ, "demo", "--json"))


@pytest.mark.parametrize(
    ("directory", "command", "reason"),
    [
        ("file", "up", "Not a directory"),
        ("/proc/casewarden", "migrate", "No such file or directory"),
        ("n" * 300, "verify", "File name too long"),
        ("n" * 300, "demo", "File name too long"),
    ],
)
def test_a_data_directory_that_cannot_be_used_is_one_line(
    tmp_path: Path, directory: str, command: str, reason: str
) -> None:
    (tmp_path / "file").touch()
    data = str(tmp_path / directory)
    environ = {k: v for k, v in os.environ.items() if not k.startswith("CASEWARDEN_")}
    environ |= {"CASEWARDEN_DATA": data, "CASEWARDEN_PORT": str(free_port())}
    line = refused(run(environ, command))
    assert line.startswith(f"casewarden: the data directory {data} cannot be used: {reason}")


def test_what_is_not_of_the_data_directory_is_not_said_of_it(tmp_path: Path) -> None:
    def met(path: Path) -> bool:
        return concerns(tmp_path / "data", PermissionError(13, "Permission denied", str(path)))

    assert met(tmp_path / "data" / "keys")
    assert met(tmp_path)
    assert not met(tmp_path / "database")
    assert not concerns(tmp_path, ConnectionRefusedError(111, "Connection refused"))


@pytest.mark.parametrize("scale", ["nan", "NaN", "inf", "0", "-1", "much"])
def test_a_day_of_no_possible_scale_is_one_line(scale: str) -> None:
    line = refused(run({**os.environ}, "demo", "day", "--scale", scale), 2)
    assert line.startswith("casewarden: Invalid value for '--scale'")


@pytest.mark.parametrize(
    ("folder", "check", "reason"),
    [
        ("/proc/casewarden", False, "cannot be written: No such file or directory"),
        ("file", False, "cannot be written: File exists"),
        ("n" * 300, False, "cannot be written: File name too long"),
        ("taken", False, "cannot be written: Is a directory"),
        ("taken", True, "cannot be read: Is a directory"),
        ("file", True, "has drifted"),
        ("missing", True, "has drifted"),
    ],
)
def test_a_directory_that_takes_no_documents_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, *, check: bool, reason: str
) -> None:
    async def documents() -> dict[Service, str]:
        return {Service.CASES: "{}"}

    monkeypatch.setattr(openapi, "documents", documents)
    (tmp_path / "file").touch()
    (tmp_path / "taken" / "cases.json").mkdir(parents=True)
    with pytest.raises(UserError, match=reason):
        openapi.run(str(tmp_path / folder), check=check)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_ended_leaves_what_it_holds_and_dies_of_the_signal(
    number: signal.Signals,
) -> None:
    """An embedded database would outlive it else; a terminal that closes says so twice."""
    code = (
        "import os, signal; from services import cli; from services.commands import policy\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        "def run(role):\n"
        f"    try: os.kill(os.getpid(), {number})\n"
        f"    finally: os.kill(os.getpid(), {signal.SIGHUP}); print('left', flush=True)\n"
        "policy.run = run; cli.main()"
    )
    done = run_code(code, "policy")
    assert done.stdout == "left\n"
    assert done.returncode == -number
    assert not done.stderr


def test_a_fault_of_ours_is_told_by_its_type_and_place_and_never_quoted() -> None:
    """SG-18: the message of an error may quote what the log holds."""
    code = (
        "from services import cli; from services.commands import policy\n"
        "def run(role): raise LookupError('swordfish') from ValueError('marlin')\n"
        "policy.run = run; cli.main()"
    )
    done = run_code(code, "policy")
    told = refused(done)
    assert "LookupError" in told
    assert "cli.py:" in told
    assert "swordfish" not in told
    assert "marlin" not in told


def test_a_role_the_database_does_not_know_is_one_line(installation: Installation) -> None:
    environ = environment(installation)
    parts = urlsplit(installation.server.url)
    stranger = parts._replace(netloc=f"nobody.here@{parts.netloc.rpartition('@')[2]}")
    environ["CASEWARDEN_DATABASE_URL"] = urlunsplit(stranger)
    assert "nobody.here" in refused(run(environ, "migrate"))


def test_nothing_started_yet_is_one_line(tmp_path: Path) -> None:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("CASEWARDEN_")}
    line = refused(run({**environ, "CASEWARDEN_DATA": str(tmp_path)}, "verify"))
    assert "nothing has been started" in line


def test_an_empty_installation_gets_its_first_administrator_once(
    installation: Installation,
) -> None:
    """AC-DO-16: the invitation is in the spool, and nowhere on the screen."""
    environ = environment(installation)
    given = ["--organisation", "Ministry", "--time-zone", "Pacific/Auckland", "--username", "aroha"]
    given += ["--given-name", "Aroha", "--family-name", "Ngata", "--email"]
    wrong = refused(run(environ, "bootstrap", *given, "nowhere"))
    assert "--email" in wrong
    done = run(environ, "bootstrap", *given, "aroha@ministry.example")
    assert done.returncode == 0, done.stderr
    assert "the invitation is delivered by spool" in done.stdout
    (letter,) = (installation.data / "spool" / "new").iterdir()
    (token,) = re.findall(r"^Invitation: (\S+)$", letter.read_text(), re.MULTILINE)
    assert token not in done.stdout + done.stderr
    assert "somebody already" in refused(
        run(environ, "bootstrap", *given, "other@ministry.example")
    )


def test_accounts_are_refused_where_no_demonstration_was_started(
    installation: Installation,
) -> None:
    line = refused(run(environment(installation), "demo", "--json"))
    assert "not started as a demonstration" in line
    assert "not started as a demonstration" in refused(
        run(environment(installation), "demo", "day")
    )


@pytest.fixture
async def marked(installation: Installation, connect: Connect) -> AsyncIterator[Installation]:
    """Mark an empty database as a demonstration that has been loaded."""
    owner = await connect(None)
    await marker.begin(owner, marker.SEED, date(2026, 7, 1))
    await marker.finish(owner)
    yield installation
    await owner.execute("drop schema demo cascade")


async def test_the_demonstration_is_loaded_by_one_process_and_the_other_waits(
    installation: Installation, connect: Connect, started: list[subprocess.Popen[str]]
) -> None:
    """Two that load would append the same facts, and the slower one fail."""
    owner = await connect(None)
    assert await marker.turn(owner)
    other = subprocess.Popen(
        [*_COMMAND, "demo", "load"],
        env=environment(installation),
        stderr=subprocess.PIPE,
        text=True,
    )
    started.append(other)
    assert other.stderr is not None
    assert "waiting for another process" in other.stderr.readline()
    try:
        await marker.begin(owner, marker.SEED, date(2026, 7, 1))
        await marker.finish(owner)
        assert other.poll() is None
        await owner.execute("select pg_advisory_unlock_all()")
        _, said = other.communicate(timeout=40)
        assert other.returncode == 0, said
        assert "loading learners" not in said
    finally:
        await owner.execute("drop schema demo cascade")


def test_accounts_of_a_demonstration_are_json_with_the_contract_s_keys(
    marked: Installation,
) -> None:
    done = run(environment(marked), "demo", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    people = [account for account in found if account["role"] != "service_client"]
    keys = "username password totp_secret person_id role organisation_id organisation"
    assert all(set(account) == set(keys.split()) for account in people)
    assert len({account["role"] for account in people}) == 15


def test_the_accounts_are_shown_to_the_owner_of_the_database_alone(marked: Installation) -> None:
    """Their passwords follow from the mark, which no service reads."""
    environ = environment(marked)
    environ["CASEWARDEN_DATABASE_URL"] = run(environ, "dsn", "--role", "cases").stdout.strip()
    for arguments in (("--json",), ("login",), ("day",)):
        assert "database's owner" in refused(run(environ, "demo", *arguments))


def test_a_day_needs_a_demonstration_that_is_running(marked: Installation) -> None:
    environ = {**environment(marked), "CASEWARDEN_PORT": str(free_port())}
    address = f"http://127.0.0.1:{environ['CASEWARDEN_PORT']}"
    for command in ("day", "login"):
        assert f"nothing serves on {address}" in refused(run(environ, "demo", command))
    wrong = refused(run(environ, "demo", "login", "--role", "administrator", "--number", "0"))
    assert wrong.endswith("there is no administrator number 0: 1 to 3")


async def filled(installation: Installation, pools: Pools, count: int = 12) -> None:
    """Append reads, and a fact after every fourth, as the cases service would."""
    log = Log(await pools(Service.CASES), Service.CASES)
    log.start()
    effects = installation.effects
    for number in range(count):
        read = Event(
            id=effects.new_id(),
            type=cases.READ,
            recorded_at=effects.now(),
            action="read",
            object=ObjectRef("case", f"Māia \u007f\u0001 {number}"),
            shown={"overview": ["b", "a"]},
        )
        fact = msgspec.structs.replace(
            read,
            id=effects.new_id(),
            type=cases.REQUEST_SUBMITTED,
            stream=f"request:{number}",
            version=1,
            touches=(f"record:{number}", "record:shared"),
        )
        await log.append(Group([read] if number % 4 else [read, fact]))
    await log.stop()


async def test_a_sound_log_verifies_with_its_count_and_root(
    installation: Installation, pools: Pools
) -> None:
    await filled(installation, pools)
    done = run(environment(installation), "verify")
    assert done.returncode == 0, done.stderr
    count, root = done.stdout.strip().split(" events, root ")
    assert count == "15"
    assert len(bytes.fromhex(root)) == 32


_CHANGES = {
    "a changed byte": (
        "update log.event set body = set_byte(body, 80, get_byte(body, 80) # 1) where position = 7",
        7,
    ),
    "canonical form lost": (
        "update log.event set body = body || ' '::bytea where position = 6",
        6,
    ),
    "an event removed": ("delete from log.event where position = 5", 5),
    "the tail removed": ("delete from log.event where position = 14", 14),
    "a column changed": ("update log.event set type = 'cases.refused' where position = 8", 8),
    "an id forgotten": ("delete from log.event_id where position = 3", 3),
    "a stream's row forgotten": ("delete from log.fact where position = 1", 1),
    "a guard set back": ("update log.guard set position = 1 where position = 11", 11),
    "a guard forgotten": (
        "delete from log.guard where position = (select min(position) from log.guard)",
        1,
    ),
    "a type given to another role": (
        "update log.event_type set role = 'casewarden_audit' where name = 'cases.read'",
        0,
    ),
}


@pytest.mark.parametrize("change", _CHANGES)
async def test_the_first_position_that_is_wrong_is_found(
    installation: Installation, pools: Pools, connect: Connect, change: str
) -> None:
    """SG-8: every table is derived again, and compared with what was seen before."""
    await filled(installation, pools)
    owner = await connect(None)
    witnessed = b"".join((await verify(owner)).leaves)
    statement, position = _CHANGES[change]
    await owner.execute("set session_replication_role = replica")
    await owner.execute(statement)
    with pytest.raises(Wrong) as wrong:
        await verify(owner, witnessed)
    assert wrong.value.position == position
    if "event_type" in statement:
        await owner.execute(
            "update log.event_type set role = 'casewarden_cases' where name = 'cases.read'"
        )


async def test_verify_names_what_is_wrong_and_remembers_what_it_saw(
    installation: Installation, pools: Pools, connect: Connect
) -> None:
    """One line and status 1; a tail that is gone with its side rows shows against the witness."""
    await filled(installation, pools, count=4)
    assert run(environment(installation), "verify").returncode == 0
    owner = await connect(None)
    await owner.execute("set session_replication_role = replica")
    for table in ("event", "event_id"):
        await owner.execute(f"delete from log.{table} where position = 4")
    line = refused(run(environment(installation), "verify"))
    assert "position 4 is wrong: the event is missing" in line


async def test_at_a_terminal_a_position_is_set_aside_by_whoever_confirms_it(
    installation: Installation, pools: Pools
) -> None:
    """Nothing takes it back, so a slip of the hand appends nothing."""
    await filled(installation, pools, count=1)
    command = [*_COMMAND, "set-aside", "0", "--reason", "INC-2026/14"]
    ours, theirs = os.openpty()
    for answer, status in (("n", 130), ("y", 0)):
        os.write(ours, f"{answer}\n".encode())
        done = subprocess.run(
            command,
            env=environment(installation),
            stdin=theirs,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == status, done.stderr
        assert "position 0 (cases." in done.stderr
        assert ("is set aside" in done.stdout) is (answer == "y")
    os.close(ours)
    os.close(theirs)


async def test_what_is_set_aside_is_in_no_read_model_and_verify_names_it(
    installation: Installation, pools: Pools, connect: Connect
) -> None:
    """Whoever reads the log later is told, and it is done once."""
    await filled(installation, pools, count=1)
    environ = environment(installation)
    assert "say --yes" in refused(run(environ, "set-aside", "1", "--reason", "INC-2026/14"))
    done = run(environ, "set-aside", "1", "--reason", "INC-2026/14", "--yes")
    assert done.returncode == 0, done.stderr
    assert "position 1 (cases.request_submitted) is set aside" in done.stdout
    owner = await connect(None)
    assert not await owner.fetchval("select exists (select from log.fact where position = 1)")
    told = run(environ, "verify")
    assert told.returncode == 0, told.stderr
    assert told.stdout.splitlines()[1] == "set aside, and in no read model: 1"
    again = refused(run(environ, "set-aside", "1", "--reason", "INC-2026/14", "--yes"))
    assert "position 1 is set aside already" in again


async def test_any_changed_byte_is_found(
    installation: Installation, pools: Pools, connect: Connect
) -> None:
    """Whatever the byte: what leaves the event well formed differs from what was witnessed."""
    await filled(installation, pools, count=3)
    owner = await connect(None)
    witnessed = b"".join((await verify(owner)).leaves)
    length = await owner.fetchval("select octet_length(body) from log.event where position = 1")
    for place in range(0, length, 7):
        transaction = owner.transaction()
        await transaction.start()
        await owner.execute("set local session_replication_role = replica")
        await owner.execute(
            "update log.event set body = set_byte(body, $1, get_byte(body, $1) # 2)"
            " where position = 1",
            place,
        )
        with pytest.raises(Wrong, match="position 1:"):
            await Check(owner, witnessed, lambda _count: None).run()
        await transaction.rollback()


async def test_the_witness_extends_while_serving_and_stops_at_a_log_that_differs(
    installation: Installation, pools: Pools, connect: Connect
) -> None:
    await filled(installation, pools)
    path = witness.path_of(installation)
    watching = witness.Witness(await pools(Service.AUDIT), path)
    assert await watching.look() == 15
    assert await watching.look() == 0
    owner = await connect(None)
    assert (await verify(owner, witness.seen(path))).leaves == ()
    await owner.execute("set session_replication_role = replica")
    await owner.execute("delete from log.event where position = 14")
    await owner.execute("delete from log.event_id where position = 14")
    with pytest.raises(Wrong, match="position 14: the event is missing"):
        await verify(owner, witness.seen(path))
    with pytest.raises(witness.Differs):
        await watching.look()


def test_the_root_is_that_of_rfc_6962() -> None:
    """The test vectors of the certificate transparency reference implementation."""
    leaves = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657"]
    roots = {
        0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        5: "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        7: "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    }
    tree = Tree()
    assert tree.root() == roots[0]
    for size, leaf in enumerate(leaves, 1):
        tree.add(bytes.fromhex(leaf))
        assert tree.root() == roots.get(size, tree.root())


def test_the_role_matrix_is_printed_with_its_clauses() -> None:
    result = CliRunner().invoke(casewarden, ["policy", "--role", "school_office"])
    assert result.exit_code == 0
    assert "AC-SEE-5" in result.output
    assert "AC-SEE-9" not in result.output


def test_an_unknown_role_is_one_line() -> None:
    assert "no row of the policy names nobody" in refused(
        run({**os.environ}, "policy", "--role", "nobody")
    )


async def test_the_openapi_documents_are_the_same_every_time_and_need_no_database() -> None:
    first = await openapi.documents()
    assert first == await openapi.documents()
    assert set(first) == set(Service)
    assert "/v1/cases/{case_id}" in json.loads(first[Service.CASES])["paths"]


async def test_the_address_of_a_role_is_that_role_and_no_other(
    installation: Installation,
) -> None:
    for role in ("cases", "authz", "audit"):
        done = run(environment(installation), "dsn", "--role", role)
        connection = await asyncpg.connect(done.stdout.strip())
        try:
            assert await connection.fetchval("select session_user") == f"casewarden_{role}"
        finally:
            await connection.close()


async def test_rebuilding_folds_every_event_again(
    installation: Installation, connect: Connect
) -> None:
    done = run(environment(installation), "rebuild", "cases.records")
    assert done.returncode == 0, done.stderr
    assert "cases.records: 0 events folded" in done.stdout
    assert "there is no projection cases.nothing" in refused(
        run(environment(installation), "rebuild", "cases.nothing")
    )
    owner = await connect(None)
    assert await owner.fetchval("select count(*) from cases.projection") >= 2


async def test_migrating_again_changes_nothing(
    installation: Installation, connect: Connect
) -> None:
    owner = await connect(None)
    before = await owner.fetchval("select count(*) from log.event_type")
    done = run(environment(installation), "migrate")
    assert done.returncode == 0, done.stderr
    assert await owner.fetchval("select count(*) from log.event_type") == before


async def test_a_second_installation_on_a_server_is_one_line_and_changes_nothing(
    installation: Installation, connect: Connect, tmp_path: Path
) -> None:
    """SG-1: else it takes the first one's roles, and opens its databases with them."""
    second = f"{urlsplit(installation.server.url).path[1:]}_second"
    address = urlunsplit(urlsplit(installation.server.url)._replace(path=f"/{second}"))
    environ = {**environment(installation), "CASEWARDEN_DATA": str(tmp_path / "second")}
    environ |= {"CASEWARDEN_DATABASE_URL": address, "CASEWARDEN_KEYS_URL": ""}
    environ |= {"CASEWARDEN_PORT": str(free_port())}
    for command in ("migrate", "up"):
        line = refused(run(environ, command))
        assert "belong to another installation" in line
        assert "--take-roles" in line
    owner = await connect(None)
    made = "select count(*) from pg_database where datname like $1 || '%'"
    assert await owner.fetchval(made, second) == 0
    assert run(environment(installation), "migrate").returncode == 0


def test_rotating_keys_destroys_those_of_former_epochs(installation: Installation) -> None:
    keys = installation.data / "keys"
    keys.mkdir()
    (keys / "student.1.key").write_bytes(b"k" * 32)
    done = run(environment(installation), "keys", "rotate")
    assert done.returncode == 0, done.stderr
    assert "destroyed: student.1.key" in done.stdout
    assert not (keys / "student.1.key").exists()


async def test_a_database_that_is_not_migrated_or_behind_is_one_line(
    installation: Installation, connect: Connect
) -> None:
    """Neither a traceback nor a wait for tables that never come."""
    environ, owner = environment(installation), await connect(None)
    await owner.execute("update log.installation set revision = '0016'")
    assert "run casewarden migrate" in refused(run(environ, "serve"))
    assert run(environ, "migrate").returncode == 0
    assert await owner.fetchval("select revision from log.installation") > "0016"
    empty = f"{urlsplit(installation.server.url).path[1:]}_new"
    await owner.execute(f'create database "{empty}"')
    environ["CASEWARDEN_DATABASE_URL"] = urlunsplit(
        urlsplit(installation.server.url)._replace(path=f"/{empty}")
    )
    try:
        assert "run casewarden migrate" in refused(run(environ, "serve", "audit"))
    finally:
        await owner.execute(f'drop database "{empty}" with (force)')


async def test_a_database_of_a_newer_version_is_one_line(
    installation: Installation, connect: Connect
) -> None:
    owner = await connect(None)
    await owner.execute("update alembic_version set version_num = '9999'")
    line = refused(run(environment(installation), "migrate"))
    assert "this version cannot migrate the database" in line
    assert "9999" in line


def test_a_directory_of_another_installation_is_refused_and_nothing_made_there(
    installation: Installation, tmp_path: Path
) -> None:
    """SG-5: nothing is sealed under keys that nobody else has."""
    environ, other = environment(installation), tmp_path / "other"
    given = ["--organisation", "Ministry", "--time-zone", "Pacific/Auckland", "--username", "aroha"]
    given += ["--given-name", "Aroha", "--family-name", "Ngata", "--email", "a@ministry.example"]
    assert run(environ, "bootstrap", *given).returncode == 0
    foreign = {**environ, "CASEWARDEN_DATA": str(other)}
    for command in ("serve", "migrate"):
        line = refused(run(foreign, command))
        assert "CASEWARDEN_DATA" in line
        assert not other.exists()
    (other / "secrets").mkdir(parents=True)
    (other / "secrets" / "roles").write_bytes(b"r" * 32)
    assert "CASEWARDEN_DATA" in refused(run(foreign, "migrate"))
    for command in ("serve", "rebuild"):
        assert "Traceback" not in refused(run(foreign, command))
    assert [path.name for path in other.rglob("*") if path.is_file()] == ["roles"]
    keys = installation.data / "keys"
    keys.rename(tmp_path / "keys")
    assert "epoch keys" in refused(run(environ, "serve"))
    assert "nothing is rotated" in refused(run(environ, "keys", "rotate"))
    assert not keys.exists()


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def get(port: int, path: str) -> tuple[int, bytes]:
    """Return status and body, status 0 when nobody answers."""
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answered:
            return answered.status, answered.read()
    except HTTPError as error:
        with error:
            return error.code, error.read()
    except (URLError, OSError):
        return 0, b""


def wait_for(port: int, path: str, status: int, within_s: float = 40) -> None:
    """Return when ``path`` answers ``status``."""
    until = time.monotonic() + within_s
    while get(port, path)[0] != status:
        assert time.monotonic() < until, f"{path} did not answer {status}"
        time.sleep(0.1)


@pytest.fixture
def started(installation: Installation) -> Iterator[list[subprocess.Popen[str]]]:
    """Collect processes, and end them whatever happens."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=20)
    assert installation.data.exists()


@pytest.mark.parametrize("name", ["authz", "cases", "audit", "all"])
def test_a_service_serves_alone_and_stops_cleanly_however_often_it_is_told(
    installation: Installation, started: list[subprocess.Popen[str]], name: str
) -> None:
    port = free_port()
    environ = {**environment(installation), "CASEWARDEN_PORT": str(port)}
    process = subprocess.Popen([*_COMMAND, "serve", name], env=environ, text=True)
    started.append(process)
    wait_for(port, "/healthz", 200)
    names = ("authz", "cases", "audit") if name == "all" else (name,)
    for mounted in ("authz", "cases", "audit"):
        expected = 200 if mounted in names else 404
        assert get(port, f"/{mounted}/metrics")[0] == expected
    status, body = get(port, "/nothing")
    assert status == 404
    assert json.loads(body)["code"] == "not_found"
    for _ in range(3):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.02)
        process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 0


async def test_serving_waits_for_its_database_and_says_so_meanwhile(
    installation: Installation, connect: Connect, started: list[subprocess.Popen[str]]
) -> None:
    """SG-8: nothing is answered but that it starts; once the database is there nothing is asked."""
    port, owner = free_port(), await connect(None)
    limit = f'alter database "{urlsplit(installation.server.url).path[1:]}" connection limit'
    await owner.execute(f"{limit} 0")
    try:
        environ = {**environment(installation), "CASEWARDEN_PORT": str(port)}
        process = subprocess.Popen([*_COMMAND, "serve"], env=environ, text=True)
        started.append(process)
        wait_for(port, "/healthz", 503)
        assert json.loads(get(port, "/healthz")[1]) == {"status": "starting"}
        for path in ("/cases/v1/cases", "/authz/v1/login", "/"):
            assert json.loads(get(port, path)[1])["code"] == "unavailable"
        assert process.poll() is None
    finally:
        await owner.execute(f"{limit} -1")
    wait_for(port, "/healthz", 200)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0


def test_serving_gives_up_in_one_line_and_stops_while_it_waits(
    tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    port = free_port()
    environ = {
        **os.environ,
        "CASEWARDEN_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/casewarden",
        "CASEWARDEN_DATA": str(tmp_path),
        "CASEWARDEN_PORT": str(port),
        "CASEWARDEN_LOG_LEVEL": "CRITICAL",
    }
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "roles").write_bytes(b"r" * 32)
    hurried = (
        "from services import cli; from services.kernel import background;"
        " background._START_S = 0.3; cli.main()"
    )
    done = run_code(hurried, "serve", environ=environ)
    assert "cannot be reached" in refused(done)
    elsewhere = {"CASEWARDEN_DATABASE_URL": "postgresql://nobody@db.invalid/casewarden"}
    elsewhere = {**environ, **elsewhere, "CASEWARDEN_LOG_LEVEL": "WARNING"}
    done = run_code(hurried, "serve", environ=elsewhere)
    assert "database_unproven" in done.stderr  # SG-5
    process = subprocess.Popen([*_COMMAND, "serve"], env=environ, text=True)
    started.append(process)
    wait_for(port, "/healthz", 503)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0


def test_a_port_that_is_taken_is_one_line(installation: Installation) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        environ = {
            **environment(installation),
            "CASEWARDEN_PORT": str(taken.getsockname()[1]),
        }
        assert "CASEWARDEN_PORT" in refused(run(environ, "serve"))


@pytest.fixture
def fresh(tmp_path: Path) -> dict[str, str]:
    """Return the environment of an installation that does not exist yet, embedded database too."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("CASEWARDEN_")}
    port = str(free_port())
    return {**kept, "CASEWARDEN_DATA": str(tmp_path / "new"), "CASEWARDEN_PORT": port}


@pytest.mark.timeout(400)
def test_up_makes_everything_serves_survives_its_database_and_continues_where_it_stopped(
    fresh: dict[str, str],
) -> None:
    """The contract's *Running*: up, stop, up again; the demonstration's day in between."""
    port, data = int(fresh["CASEWARDEN_PORT"]), Path(fresh["CASEWARDEN_DATA"])
    first = subprocess.Popen([*_COMMAND, "up"], env=fresh, text=True, stdout=subprocess.PIPE)
    try:
        wait_for(port, "/healthz", 200, within_s=200)
        day = run_day(fresh)
        assert day["unexpected"] == {}
        assert any(name.startswith("out_of_hours_login") for name in day["alerts"])
        assert any(name.startswith("repeated_failures_address") for name in day["alerts"])
        assert day["browser"]["denied"] > 0
        assert day["browser"]["out_of_hours"] is not None
        assert day["learner"]["accesses"] > 0
        kill_database(data)
        wait_for(port, "/healthz", 200, within_s=60)
        count = run(fresh, "verify").stdout.split()[0]
        assert int(count) > 20_000
    finally:
        first.send_signal(signal.SIGINT)
        told, _ = first.communicate(timeout=60)
    assert first.returncode == 0
    assert "casewarden demo day" in told or "demo day" in told
    assert not database_runs(data)
    again = subprocess.Popen([*_HANGS_UP, "up"], env=fresh, text=True, stdout=subprocess.PIPE)
    try:
        wait_for(port, "/healthz", 200, within_s=60)
        assert int(run(fresh, "verify").stdout.split()[0]) >= int(count)
    finally:
        again.send_signal(signal.SIGHUP)
        again.communicate(timeout=60)
    assert again.returncode == 0
    assert not database_runs(data)


def run_day(environ: dict[str, str]) -> dict[str, dict[str, int]]:
    """Drive a short day and return its summary."""
    done = subprocess.run(
        [*_COMMAND, "demo", "day", "--scale", "0.05", "--json"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    summary: dict[str, dict[str, int]] = json.loads(done.stdout)
    return summary


def postmaster(data: Path) -> Path:
    """Return the file that names the embedded server's process."""
    return data / "postgres" / "cluster" / "postmaster.pid"


def kill_database(data: Path) -> None:
    """Kill the embedded server outright."""
    os.kill(int(postmaster(data).read_text().split()[0]), signal.SIGKILL)


def database_runs(data: Path) -> bool:
    """Say whether the embedded server is there."""
    return postmaster(data).exists()
