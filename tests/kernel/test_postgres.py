"""The embedded database, against the real programs."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from services.kernel import postgres
from services.kernel.cluster import PostgresError
from services.kernel.postgres import EmbeddedPostgres

Make = Callable[[str], EmbeddedPostgres]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[EmbeddedPostgres] = []

    def make_one(name: str) -> EmbeddedPostgres:
        made.append(EmbeddedPostgres(tmp_path / name))
        return made[-1]

    yield make_one
    for server in made:
        server.stop()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a cluster as a first start does; a copy of it is one as it was left by a stop."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("made"))
    server.start()
    server.stop()
    return server.cluster


@pytest.fixture
def server(make: Make, cluster: Path) -> EmbeddedPostgres:
    started = make("data")
    started.directory.mkdir(mode=0o700)
    subprocess.run(["cp", "--archive", cluster, started.cluster], check=True)  # noqa: S607 - wherever it is
    started.start()
    return started


async def ask(server: EmbeddedPostgres, statement: str) -> object:
    connection = await asyncpg.connect(server.dsn())
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def pid_of(server: EmbeddedPostgres) -> int:
    return int((server.cluster / "postmaster.pid").read_text().split("\n", 1)[0])


def kill(server: EmbeddedPostgres) -> None:
    os.kill(pid_of(server), signal.SIGKILL)
    wait_until(lambda: not server.alive())


def wait_until(claim: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not claim():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)


def other_process(server: EmbeddedPostgres, then: str) -> "subprocess.Popen[str]":
    """Another process that uses the same server; it says "ready" once it does."""
    program = (
        "import sys, time, pathlib; from services.kernel.postgres import EmbeddedPostgres; "
        "s = EmbeddedPostgres(pathlib.Path(sys.argv[1])); s.start(); print('ready', flush=True); "
        + then
    )
    command = [sys.executable, "-c", program, str(server.directory)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


async def test_it_starts_as_postgresql_18_with_durable_commits(server: EmbeddedPostgres) -> None:
    assert str(await ask(server, "SHOW server_version")).startswith("18")
    for setting in ("fsync", "synchronous_commit", "data_checksums", "full_page_writes"):
        assert await ask(server, f"SHOW {setting}") == "on"


async def test_it_listens_on_no_network_address(server: EmbeddedPostgres) -> None:
    assert await ask(server, "SHOW listen_addresses") == ""


async def test_text_is_utf8_and_sorts_alike_on_every_machine(server: EmbeddedPostgres) -> None:
    assert await ask(server, "SHOW server_encoding") == "UTF8"
    locale = "SELECT datlocprovider::text || datlocale FROM pg_database WHERE datname = 'template1'"
    assert await ask(server, locale) == "bC.UTF-8"


def test_the_socket_path_is_short_and_private_however_long_the_data_path(make: Make) -> None:
    server = make("/".join(["a-rather-long-name-for-a-directory"] * 5))
    server.start()
    assert len(os.fsencode(server.socket_directory)) < 90
    assert server.socket_directory.stat().st_mode & 0o777 == 0o700


async def test_what_was_committed_survives_a_restart(server: EmbeddedPostgres) -> None:
    await ask(server, "CREATE TABLE kept AS SELECT 42 AS answer")
    server.stop()
    assert not server.alive()
    server.start()
    assert await ask(server, "SELECT answer FROM kept") == 42


def test_a_warm_start_takes_about_a_second(server: EmbeddedPostgres) -> None:
    server.stop()
    began = time.monotonic()
    server.start()
    assert time.monotonic() - began < 3


async def test_what_was_committed_survives_a_kill_of_the_server(server: EmbeddedPostgres) -> None:
    await ask(server, "CREATE TABLE kept AS SELECT 42 AS answer")
    kill(server)
    server.start()
    assert await ask(server, "SELECT answer FROM kept") == 42


async def test_supervision_starts_a_killed_server_again(server: EmbeddedPostgres) -> None:
    watching = asyncio.create_task(server.supervise(interval=0.05))
    killed = pid_of(server)
    await asyncio.to_thread(kill, server)
    await asyncio.to_thread(wait_until, lambda: server.alive() and pid_of(server) != killed)
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching
    server.start()  # waits for the one under way
    assert await ask(server, "SELECT 1") == 1


async def test_a_stale_pid_file_naming_another_living_process_is_not_believed(
    server: EmbeddedPostgres,
) -> None:
    lines = (server.cluster / "postmaster.pid").read_text().split("\n")
    server.stop()
    stale = "\n".join([str(os.getppid()), *lines[1:]])
    (server.cluster / "postmaster.pid").write_text(stale)
    assert not server.alive()
    server.start()
    assert await ask(server, "SELECT 1") == 1


async def test_a_server_orphaned_by_a_killed_process_is_replaced(make: Make) -> None:
    server = make("data")
    owner = other_process(server, "time.sleep(60)")
    orphan = pid_of(server)
    owner.kill()
    owner.communicate()
    assert server.alive()
    server.start()
    assert pid_of(server) != orphan
    assert await ask(server, "SELECT 1") == 1


async def test_a_second_process_shares_the_server_and_the_last_one_ends_it(
    server: EmbeddedPostgres,
) -> None:
    before = pid_of(server)
    other = other_process(server, "sys.stdin.read(); s.stop()")
    server.stop()
    assert pid_of(server) == before
    other.communicate()
    assert not server.alive()


async def test_who_has_another_temporary_folder_finds_the_server_and_ends_it(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make("data")
    first.start()
    sockets = first.socket_directory
    monkeypatch.setattr(tempfile, "tempdir", "/elsewhere")
    second = make("data")
    assert second.socket_directory == sockets
    assert await ask(second, "select 1") == 1
    first.stop()
    assert not sockets.exists()
    assert second.socket_directory.parent == Path("/elsewhere")


async def test_a_half_made_cluster_is_made_anew(make: Make) -> None:
    server = make("data")
    (server.directory / "cluster.new").mkdir(parents=True)
    (server.directory / "cluster.new" / "PG_VERSION").write_text("18\n")
    server.start()
    assert await ask(server, "SELECT 1") == 1


async def test_servers_over_two_directories_run_beside_each_other(
    server: EmbeddedPostgres, make: Make
) -> None:
    second = make("second")
    second.start()
    await ask(server, "CREATE TABLE only_here ()")
    assert await ask(second, "SELECT to_regclass('only_here')") is None


def test_a_server_that_has_only_begun_has_its_socket_in_no_other_directory(make: Make) -> None:
    """Its file has an empty line there, and empty is the folder one is in: not to be removed."""
    server = make("data")
    server.cluster.mkdir(parents=True)
    command = [sys.executable, "-c", "input()", str(server.cluster)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as begun:
        told = f"{begun.pid}\n{server.cluster}\n1\n5432\n\n"
        (server.cluster / "postmaster.pid").write_text(told)
        wait_until(server.alive)
        assert server.socket_directory.parent == Path(tempfile.gettempdir())
        assert server.socket_directory.name.startswith("casewarden-")
        begun.kill()


def test_stopping_removes_no_directory_but_our_own(
    server: EmbeddedPostgres, tmp_path: Path
) -> None:
    """Whoever started a server by hand may have its socket in the temporary folder itself."""
    ours, theirs = server.socket_directory, tmp_path / "theirs"
    theirs.mkdir()
    file = server.cluster / "postmaster.pid"
    file.write_text(file.read_text().replace(str(ours), str(theirs)))
    assert server.socket_directory == theirs
    server.stop()
    assert not server.alive()
    assert theirs.exists()
    ours.rmdir()


def test_a_socket_directory_of_somebody_else_is_refused(
    server: EmbeddedPostgres, tmp_path: Path
) -> None:
    server.stop()
    server.socket_directory.symlink_to(tmp_path)
    with pytest.raises(PostgresError, match="somebody else"):
        server.start()
    server.socket_directory.unlink()


def test_a_socket_directory_that_was_refused_keeps_what_is_in_it(server: EmbeddedPostgres) -> None:
    server.stop()
    refused = server.socket_directory
    refused.mkdir(mode=0o755)
    letter = refused / "letter"
    letter.write_text("Dear reader")
    with pytest.raises(PostgresError, match="somebody else"):
        server.start()
    server.stop()
    assert letter.read_text() == "Dear reader"
    shutil.rmtree(refused)


def test_a_cluster_of_another_major_version_is_refused_by_name(server: EmbeddedPostgres) -> None:
    server.stop()
    (server.cluster / "PG_VERSION").write_text("17\n")
    with pytest.raises(PostgresError, match="PostgreSQL 17"):
        server.start()


def test_a_server_that_cannot_start_says_why(
    server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.stop()
    monkeypatch.setitem(postgres._SETTINGS, "no_such_setting", "on")
    with pytest.raises(PostgresError, match="no_such_setting"):
        server.start()


def test_a_name_that_needs_quoting_is_quoted_in_the_address(make: Make) -> None:
    assert make("data").dsn("a/b", "c@d").startswith("postgresql://c%40d@/a%2Fb?host=/")


async def test_what_is_set_for_another_server_leads_nobody_astray(
    server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "PGHOST": "db.example",
        "PGPORT": "5999",
        "PGSSLMODE": "verify-full",
        "PGTARGETSESSIONATTRS": "standby",
    }.items():
        monkeypatch.setenv(name, value)
    assert await ask(server, "select 1") == 1


def test_nothing_of_our_environment_reaches_the_server(make: Make) -> None:
    os.environ["CASEWARDEN_TEST_SECRET"] = "unspoken"
    try:
        server = make("data")
        server.start()
    finally:
        del os.environ["CASEWARDEN_TEST_SECRET"]
    assert b"unspoken" not in Path(f"/proc/{pid_of(server)}/environ").read_bytes()
