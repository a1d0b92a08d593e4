"""Sealing personal data: AES-256-GCM under a key of one subject and one compartment (SG-6).

A sealed value names its algorithm and key generation and is bound, as associated data, to the
event id, the field and the compartment it was sealed for: moved elsewhere it does not open.
Keys live in a store of their own (:class:`KeyStore`), each wrapped under the epoch key of its
compartment; the epoch keys are files that are never in a database nor in its backups. At an
epoch's end the survivors are wrapped anew and the old epoch key is destroyed, so that a key
deleted from the store is gone for good once the last epoch key that wrapped it is gone.

This module knows no event type; who may open a compartment is row security in the key store.
"""

import asyncio
import binascii
import os
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple
from uuid import NAMESPACE_URL, UUID, uuid5

import asyncpg
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.kernel.effects import Effects
from services.kernel.errors import Unavailable

#: the algorithm, and the generation of the key
_PREFIX: Final = "A256GCM.1."
_PREFIX_LENGTH: Final = len(_PREFIX)
_NONCE_BYTES: Final = 12
_KEY_BYTES: Final = 32
_EPOCH_DAYS: Final = 30
_CACHE_KEYS: Final = 20_000
#: for how long after an epoch's end a process whose clock is slow may still wrap under its key
_GRACE: Final = timedelta(hours=1)


class Compartment(StrEnum):
    """Kinds of information kept apart; one cannot be opened with another's key (SG-6)."""

    STUDENT = "student"
    RECORD = "record"
    SENSITIVE = "sensitive"
    STAFF = "staff"
    CREDENTIAL = "credential"
    ORIGIN = "origin"
    SEARCH = "search"
    REVIEW = "review"


class KeyRef(NamedTuple):
    """Whose key, of which compartment."""

    subject: UUID
    compartment: Compartment

    def __hash__(self) -> int:
        """As equal as its subject: a subject has few compartments, and it is asked very often."""
        return hash(self[0].int)


class SealBroken(Exception):  # noqa: N818 - a state of the data
    """A sealed value does not open: its key is destroyed, or it is not where it was sealed."""


class KeyNotLoaded(Unavailable):
    """Whether the key exists is not known now: it was not loaded, or is not in reach any more."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A sealed value as projections keep it: the text, and where it was sealed."""

    ref: KeyRef
    event_id: UUID
    field: str
    text: str


def period_subject(kind: str, moment: datetime) -> UUID:
    """Return the subject of the period key for ``moment``: one per kind and calendar month."""
    return uuid5(NAMESPACE_URL, f"casewarden:{kind}:{moment:%Y-%m}")


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

    def key(self, compartment: Compartment, epoch: int) -> AESGCM:
        """Return the key, made when ``epoch`` is the current one; raise when it was destroyed."""
        known = self._opened.get((compartment, epoch))
        if known is None:
            known = self._opened[(compartment, epoch)] = AESGCM(self._load(compartment, epoch))
        return known

    def _load(self, compartment: Compartment, epoch: int) -> bytes:
        path = self._directory / f"{compartment}.{epoch}.key"
        if not path.exists() and epoch == self.current():
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = path.with_suffix(f".{self._effects.token(4).hex()}")
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.write(descriptor, self._effects.token(_KEY_BYTES))
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
            raise SealBroken(f"epoch key {compartment}.{epoch} is destroyed") from None

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


class KeyStore:
    """The data keys of one service, loaded on demand; those used last are kept opened.

    Its pool logs in to the key database as the service's role; row security there decides which
    compartments exist for it.
    """

    def __init__(self, pool: asyncpg.Pool, epochs: EpochKeys, effects: Effects) -> None:
        self._pool = pool
        self._epochs = epochs
        self._effects = effects
        #: the longest unused first
        self._cache: OrderedDict[KeyRef, AESGCM] = OrderedDict()
        #: what the store had no row for when it was last asked; asked again at every load
        self._absent: OrderedDict[KeyRef, None] = OrderedDict()

    async def load(self, refs: Iterable[KeyRef], *, create: bool = False) -> None:
        """Bring ``refs`` into the cache; with ``create`` those that do not exist are made.

        Each of them is there when this returns, however many they are, until others are loaded. A
        key that does not exist (destroyed, or of a compartment that is not this role's) is known
        to be absent afterwards: opening with it raises :class:`SealBroken`. So does this, for a
        key that is there and whose epoch key is not: that is an installation without its secrets.
        """
        found: dict[KeyRef, AESGCM] = {}
        missing: list[KeyRef] = []
        for ref in dict.fromkeys(refs):
            key = self._used(ref)
            if key is None:
                missing.append(ref)
            else:
                found[ref] = key
        if not missing:
            return
        found |= await self._fetch(missing)
        absent = [ref for ref in missing if ref not in found]
        if create and absent:
            await self._create(absent)
            found |= await self._fetch(absent)
            absent = [ref for ref in absent if ref not in found]
        self._keep(found, absent)

    def has(self, ref: KeyRef) -> bool:
        """Say whether the key is in the cache."""
        return ref in self._cache

    def forget(self, subject: UUID) -> None:
        """Drop every opened key of ``subject``."""
        for compartment in Compartment:
            self._cache.pop(KeyRef(subject, compartment), None)

    def _used(self, ref: KeyRef) -> AESGCM | None:
        """Return an opened key, which is now the one used last."""
        key = self._cache.get(ref)
        if key is not None:
            self._cache.move_to_end(ref)
        return key

    def _keep(self, found: Mapping[KeyRef, AESGCM], absent: Sequence[KeyRef]) -> None:
        """Remember what a load found and what it did not; what is unused longest makes room."""
        for ref, key in found.items():
            self._cache[ref] = key
            self._cache.move_to_end(ref)
            self._absent.pop(ref, None)
        for ref in absent:
            self._absent[ref] = None
            self._absent.move_to_end(ref)
        while len(self._cache) > max(_CACHE_KEYS, len(found)):
            self._cache.popitem(last=False)
        while len(self._absent) > max(_CACHE_KEYS, len(absent)):
            self._absent.popitem(last=False)

    def _key(self, ref: KeyRef) -> AESGCM:
        key = self._used(ref)
        if key is not None:
            return key
        if ref in self._absent:
            raise SealBroken(f"no key for {ref.compartment}")
        raise KeyNotLoaded

    async def _fetch(self, refs: Sequence[KeyRef]) -> dict[KeyRef, AESGCM]:
        rows = await self._pool.fetch(
            "select k.subject, k.compartment, k.epoch, k.wrapped from keys.data_key k"
            " join unnest($1::uuid[], $2::text[]) r(subject, compartment)"
            " using (subject, compartment)",
            [ref.subject for ref in refs],
            [str(ref.compartment) for ref in refs],
        )
        opened = {}
        for row in rows:
            ref = KeyRef(row["subject"], Compartment(row["compartment"]))
            opened[ref] = AESGCM(self._unwrap(ref, row["epoch"], row["wrapped"]))
        return opened

    async def _create(self, refs: Sequence[KeyRef]) -> None:
        epoch = self._epochs.current()
        wrapped = [self._wrap(ref, epoch, self._effects.token(_KEY_BYTES)) for ref in refs]
        await self._pool.execute(
            "insert into keys.data_key (subject, compartment, epoch, wrapped)"
            " select * from unnest($1::uuid[], $2::text[], $3::int[], $4::bytea[])"
            " on conflict do nothing",
            [ref.subject for ref in refs],
            [str(ref.compartment) for ref in refs],
            [epoch] * len(refs),
            wrapped,
        )

    def _wrap(self, ref: KeyRef, epoch: int, key: bytes) -> bytes:
        nonce = self._effects.token(_NONCE_BYTES)
        return nonce + self._epochs.key(ref.compartment, epoch).encrypt(
            nonce, key, f"{ref.subject}|{ref.compartment}".encode()
        )

    def _unwrap(self, ref: KeyRef, epoch: int, wrapped: bytes) -> bytes:
        try:
            return self._epochs.key(ref.compartment, epoch).decrypt(
                wrapped[:_NONCE_BYTES],
                wrapped[_NONCE_BYTES:],
                f"{ref.subject}|{ref.compartment}".encode(),
            )
        except InvalidTag:
            msg = f"a key of {ref.compartment} does not open with epoch key {epoch}"
            raise SealBroken(msg) from None

    def seal(self, ref: KeyRef, event_id: UUID, field: str, text: str) -> str:
        """Seal ``text``; the key must have been loaded with ``create``.

        Raises :class:`KeyNotLoaded` when it was not, :class:`SealBroken` when there is none.
        """
        key = self._key(ref)
        nonce = self._effects.token(_NONCE_BYTES)
        box = nonce + key.encrypt(nonce, text.encode(), _bound(event_id, field, ref.compartment))
        return _PREFIX + binascii.b2a_base64(box, newline=False).decode()

    def open(self, ref: KeyRef, event_id: UUID, field: str, sealed: str) -> str:
        """Open what :meth:`seal` made; raise :class:`SealBroken` when it does not open.

        Raises :class:`KeyNotLoaded` when that cannot be said, since the key was not loaded.
        """
        key = self._key(ref)
        if not sealed.startswith(_PREFIX):
            raise SealBroken(field)
        try:
            box = binascii.a2b_base64(sealed[_PREFIX_LENGTH:], strict_mode=True)
            return key.decrypt(
                box[:_NONCE_BYTES], box[_NONCE_BYTES:], _bound(event_id, field, ref.compartment)
            ).decode()
        except (InvalidTag, ValueError):
            raise SealBroken(field) from None

    def open_sealed(self, sealed: Sealed) -> str:
        """Open a value that a projection kept."""
        return self.open(sealed.ref, sealed.event_id, sealed.field, sealed.text)

    async def rewrap(self) -> list[str]:
        """Wrap every key this role reads under the current epoch; run as owner for all of them.

        Returns the names of the epoch keys destroyed: those of former epochs, but of the last one
        only when it ended an hour ago, since a slower clock may still wrap under it.
        """
        epoch = self._epochs.current()
        async with self._pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(
                "select subject, compartment, epoch, wrapped from keys.data_key where epoch < $1"
                " for update",
                epoch,
            )
            for row in rows:
                ref = KeyRef(row["subject"], Compartment(row["compartment"]))
                key = self._unwrap(ref, row["epoch"], row["wrapped"])
                await connection.execute(
                    "update keys.data_key set epoch = $3, wrapped = $4"
                    " where subject = $1 and compartment = $2",
                    ref.subject,
                    str(ref.compartment),
                    epoch,
                    self._wrap(ref, epoch, key),
                )
        return await asyncio.to_thread(
            self._epochs.destroy_before, min(epoch, self._epochs.oldest_in_use())
        )


def _bound(event_id: UUID, field: str, compartment: Compartment) -> bytes:
    return b"%b|%b|%b" % (event_id.bytes, field.encode(), compartment.encode())
