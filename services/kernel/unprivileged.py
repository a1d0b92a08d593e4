"""Running a program as somebody other than root: the account, and its way to files of root's.

PostgreSQL refuses to run as root, and a demonstration is often started by root: in a container, or
from a checkout under `/root`. This module finds or makes an account without rights and lets it
reach exactly what it needs. It widens nothing for anybody else where the file system knows access
lists, and never touches what a file holds. An ordinary user never needs it.
"""

import os
import pwd
import shutil
import stat
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

ACCOUNT = "casewarden"
_NOBODY = "nobody"
_ACCESS_LIST = "system.posix_acl_access"
_HEADER, _ENTRY = struct.Struct("<I"), struct.Struct("<HHI")
_USER, _MASK = 0x02, 0x10
_VERSION, _UNDEFINED = 2, 0xFFFFFFFF
_SEARCH = 1


@dataclass(frozen=True, slots=True)
class Account:
    """A system account by its numbers; it need not have a name."""

    uid: int
    gid: int

    def own(self, path: Path) -> None:
        """Give `path` itself, not what is in it, to this account."""
        os.chown(path, self.uid, self.gid)

    def runs(self, program: Path) -> bool:
        """Whether this account can run `program`, which knows `--version`, with its libraries."""
        return self._can('"$1" --version >/dev/null 2>&1', program)

    def passes(self, directory: Path) -> bool:
        """Whether this account can go through `directory`; it need not be able to list it."""
        return self._can('cd -- "$1" 2>/dev/null', directory)

    def _can(self, script: str, path: Path) -> bool:
        """Ask the system by trying, so that modes, groups and access lists all count."""
        done = subprocess.run(
            ["/bin/sh", "-c", script, "sh", path],
            user=self.uid,
            group=self.gid,
            extra_groups=[],
            cwd="/",
            check=False,
        )
        return done.returncode == 0

    def open_way_to(self, path: Path) -> None:
        """Let this account go through every directory above `path`, without listing any.

        Where the file system has access lists nobody else gains anything; where it has none, the
        directories that were closed become passable, not readable, for others too.
        """
        for directory in reversed(path.parents):
            if not self.passes(directory):
                _grant_search(directory, self.uid)

    def open_tree(self, root: Path) -> None:
        """Make a tree of public files, such as programs, readable when a tight umask closed it."""
        for path in (root, *root.rglob("*")):
            if not path.is_symlink():
                mode = stat.S_IMODE(path.stat().st_mode)
                readable = mode | stat.S_IRGRP | stat.S_IROTH
                path.chmod(readable | (stat.S_IXGRP | stat.S_IXOTH if mode & stat.S_IXUSR else 0))


def account_for(directory: Path) -> Account | None:
    """Whom to run a server over `directory` as; None means as whoever runs us.

    For root: the directory's owner, when it is there and not root's, else `ACCOUNT`.
    """
    if os.geteuid() != 0:
        return None
    if directory.exists() and (owner := directory.stat()).st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    entry = _entry(ACCOUNT) or _made(ACCOUNT) or pwd.getpwnam(_NOBODY)
    return Account(entry.pw_uid, entry.pw_gid)


def _entry(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _made(name: str) -> pwd.struct_passwd | None:
    """Make a system account without home, shell or password; None where that is impossible.

    `nobody` stands in then: it serves, but shares its files with whatever else runs as `nobody`.
    """
    useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if useradd is not None:
        options = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
        shell = ["--shell", "/usr/sbin/nologin"]
        subprocess.run([useradd, *options, *shell, name], capture_output=True, check=False)
    return _entry(name)


def _grant_search(directory: Path, uid: int) -> None:
    try:
        old = os.getxattr(directory, _ACCESS_LIST)
    except OSError:
        old = _access_list_of(stat.S_IMODE(directory.stat().st_mode))
    try:
        os.setxattr(directory, _ACCESS_LIST, _with_search(old, uid))
    except OSError:
        directory.chmod(directory.stat().st_mode | stat.S_IXOTH)


def _access_list_of(mode: int) -> bytes:
    """Return the access list that says the same as the nine permission bits (acl(5))."""
    bits = ((0x01, mode >> 6), (0x04, mode >> 3), (0x20, mode))
    entries = (_ENTRY.pack(tag, bit & 7, _UNDEFINED) for tag, bit in bits)
    return _HEADER.pack(_VERSION) + b"".join(entries)


def _with_search(access_list: bytes, uid: int) -> bytes:
    """Return the list with one more entry: `uid` may search. The mask lets that through."""
    entries = {
        (tag, who): rights for tag, rights, who in _ENTRY.iter_unpack(access_list[_HEADER.size :])
    }
    group = entries[0x04, _UNDEFINED]
    entries[_USER, uid] = entries.get((_USER, uid), 0) | _SEARCH
    entries[_MASK, _UNDEFINED] = entries.get((_MASK, _UNDEFINED), group) | _SEARCH
    packed = (_ENTRY.pack(tag, rights, who) for (tag, who), rights in sorted(entries.items()))
    return _HEADER.pack(_VERSION) + b"".join(packed)
