"""The wrapping keys of an epoch: files that are never in a database nor in its backups.

Owns how an epoch key is made, found and destroyed. Place in the flow: the key store wraps every
data key under the epoch key of its compartment, and wraps the survivors anew at the epoch's end;
what was wrapped by a key that is destroyed here is gone for good.
"""

import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from services.kernel.effects import Effects
from services.kernel.sealing import KEY_BYTES, NONCE_BYTES, Compartment, KeyRef, SealBroken

_EPOCH_DAYS: Final = 30
#: for how long after an epoch's end a process whose clock is slow may still wrap under its key
_GRACE: Final = timedelta(hours=1)


class EpochKeyMissing(SealBroken):
    """What wrapped a key is not in this directory: destroyed, or never here."""


class EpochKeys:
    """The wrapping keys, one file per compartment and epoch, mode 0600 in a directory of mode 0700.

    Guarantees: created at most once, also by several processes on one file system. Does not
    guarantee that a file system overwrites what it deletes; production keeps these in an HSM.
    """

    def __init__(self, directory: Path, effects: Effects) -> None:
        self._directory = directory
        self._effects = effects
        self._opened: dict[tuple[str, int], AESGCM] = {}

    def current(self) -> int:
        """Return the number of the epoch that is now."""
        return _epoch(self._effects.now())

    def oldest_in_use(self) -> int:
        """Return the oldest epoch that a process, its clock up to an hour slow, wraps under."""
        return _epoch(self._effects.now() - _GRACE)

    def has(self, compartment: Compartment, epoch: int) -> bool:
        """Say whether the key is there."""
        return self._path(compartment, epoch).exists()

    def key(self, compartment: Compartment, epoch: int, *, make: bool = False) -> AESGCM:
        """Return the key, with ``make`` made when ``epoch`` is the current one; raise without it.

        To open with, none is ever made: what it should open was wrapped by another.
        """
        known = self._opened.get((compartment, epoch))
        if known is None:
            known = AESGCM(self._load(compartment, epoch, make=make))
            self._opened[(compartment, epoch)] = known
        return known

    def secret(self, compartment: Compartment, epoch: int, purpose: str) -> bytes:
        """Return a secret derived from the key (HKDF, RFC 5869): gone for good when it is."""
        derivation = HKDF(SHA256(), KEY_BYTES, None, purpose.encode())
        return derivation.derive(self._load(compartment, epoch, make=True))

    def _path(self, compartment: str, epoch: int) -> Path:
        return self._directory / f"{compartment}.{epoch}.key"

    def _load(self, compartment: Compartment, epoch: int, *, make: bool) -> bytes:
        path = self._path(compartment, epoch)
        if make and not path.exists() and epoch == self.current():
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = path.with_suffix(f".{self._effects.token(4).hex()}")
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.write(descriptor, self._effects.token(KEY_BYTES))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            try:
                os.link(fresh, path)
            except FileExistsError:
                pass
            finally:
                fresh.unlink()
        try:
            return path.read_bytes()
        except FileNotFoundError:
            msg = f"epoch key {compartment}.{epoch} is destroyed, or elsewhere"
            raise EpochKeyMissing(msg) from None

    def wrap(self, ref: KeyRef, epoch: int, key: bytes) -> bytes:
        """Return ``key`` wrapped under an epoch's key, bound to whose it is."""
        nonce = self._effects.token(NONCE_BYTES)
        return nonce + self.key(ref.compartment, epoch, make=True).encrypt(nonce, key, _bound(ref))

    def unwrap(self, ref: KeyRef, epoch: int, wrapped: bytes) -> bytes:
        """Return the key in ``wrapped``; raise :class:`SealBroken` when it does not open.

        :class:`EpochKeyMissing` when what it was wrapped under is not there.
        """
        key = self.key(ref.compartment, epoch)
        try:
            return key.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], _bound(ref))
        except InvalidTag:
            msg = f"a key of {ref.compartment} does not open with epoch key {epoch}"
            raise SealBroken(msg) from None

    def forget_destroyed(self) -> bool:
        """Keep no key opened that another process destroyed; say whether there was one."""
        gone = [opened for opened in list(self._opened) if not self._path(*opened).exists()]
        for opened in gone:
            self._opened.pop(opened, None)
        return bool(gone)

    def destroy_before(self, epoch: int) -> list[str]:
        """Delete every epoch key older than ``epoch``; return their names."""
        gone = []
        for path in sorted(self._directory.glob("*.key")):
            if int(path.name.split(".")[1]) < epoch:
                path.unlink()
                gone.append(path.name)
        self._opened.clear()
        return gone


def _epoch(moment: datetime) -> int:
    return int(moment.timestamp() // 86_400 // _EPOCH_DAYS)


def _bound(ref: KeyRef) -> bytes:
    return f"{ref.subject}|{ref.compartment}".encode()
