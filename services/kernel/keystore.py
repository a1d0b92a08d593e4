"""The data keys of one service: made, loaded, kept opened, and wrapped anew.

Owns which keys exist (``keys.data_key``, a database of its own) and which of them are opened in
this process; each is wrapped under the epoch key of its compartment. Place in the flow: what seals
or opens loads the keys first, all of them at once, and then works without waiting. Never decides
who may open what: row security in the key store does.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from services.kernel.effects import Effects
from services.kernel.epochs import EpochKeyMissing, EpochKeys
from services.kernel.sealing import (
    KEY_BYTES,
    NONCE_BYTES,
    Compartment,
    DataKey,
    KeyNotLoaded,
    KeyRef,
    SealBroken,
    Sealed,
)

_CACHE_KEYS: Final = 20_000
_logger = structlog.get_logger(__name__)


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
        self._cache: OrderedDict[KeyRef, DataKey] = OrderedDict()
        #: what the store had no row for when it was last asked; asked again at every load
        self._absent: OrderedDict[KeyRef, None] = OrderedDict()
        #: an epoch key is gone, and what is opened was not compared with the store since
        self._outdated = False

    async def load(self, refs: Iterable[KeyRef], *, create: bool = False) -> None:
        """Bring ``refs`` into the cache; with ``create`` those that do not exist are made.

        Each of them is there when this returns, however many they are, until others are loaded. A
        key that does not exist (destroyed, or of a compartment that is not this role's) is known
        to be absent afterwards: opening with it raises :class:`SealBroken`. For a key that is there
        and whose epoch key is not, this raises :class:`KeyNotLoaded`: nothing was destroyed, the
        installation is without its secrets.
        """
        wanted = list(refs)
        missing = [ref for ref in wanted if not self._use(ref)]
        if not missing:
            return
        found = {ref: self._cache[ref] for ref in wanted if ref in self._cache}
        missing = list(dict.fromkeys(missing))
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

    async def destroyed(self, refs: Iterable[KeyRef]) -> list[KeyRef]:
        """Return those of ``refs`` that the store has no key for now, and forget them opened."""
        asked = list(refs)
        rows = await self._rows(asked)
        kept = {KeyRef(row["subject"], Compartment(row["compartment"])) for row in rows}
        gone = [ref for ref in asked if ref not in kept]
        for ref in gone:
            self._cache.pop(ref, None)
        return gone

    async def forget_destroyed(self) -> None:
        """Keep opened no epoch key that was destroyed, nor any data key that went with one.

        Costs a look at a file for each epoch key that is opened. Whoever was disposed of before an
        epoch's key was destroyed is in no store and no backup from then on, nor in this memory.
        """
        await asyncio.to_thread(self._forget_epochs)
        if self._outdated:
            await self.destroyed(list(self._cache))
            self._outdated = False

    def _forget_epochs(self) -> None:
        if self._epochs.forget_destroyed():
            self._outdated = True

    def epoch_secret(self, compartment: Compartment, purpose: str) -> tuple[int, bytes]:
        """Return the number of the current epoch, and a secret that is destroyed with its key."""
        epoch = self._epochs.current()
        return epoch, self._epochs.secret(compartment, epoch, purpose)

    def current_epoch(self) -> int:
        """Return the number of the current epoch."""
        return self._epochs.current()

    def _use(self, ref: KeyRef) -> bool:
        """Say whether a key is in the cache; it is now the one used last."""
        try:
            self._cache.move_to_end(ref)
        except KeyError:
            return False
        return True

    def _keep(self, found: Mapping[KeyRef, DataKey], absent: Sequence[KeyRef]) -> None:
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

    def key(self, ref: KeyRef) -> DataKey:
        """Return the key that opens what was sealed for ``ref``; it must have been loaded.

        Raises :class:`SealBroken` when there is none, :class:`KeyNotLoaded` when that cannot be
        said. Hold it no longer than it takes to answer: destroyed keys must leave every cache.
        """
        key = self._cache.get(ref)
        if key is not None:
            return key
        if ref in self._absent:
            raise SealBroken(f"no key for {ref.compartment}")
        raise KeyNotLoaded

    async def _fetch(self, refs: Sequence[KeyRef]) -> dict[KeyRef, DataKey]:
        try:
            return await self._unwrapped(refs)
        except EpochKeyMissing:
            pass  # a rotation wrapped them anew after they were read, and destroyed that key
        try:
            return await self._unwrapped(refs)
        except EpochKeyMissing as missing:
            _logger.warning("epoch_key_missing", reason=str(missing))
            raise KeyNotLoaded from None

    async def _unwrapped(self, refs: Sequence[KeyRef]) -> dict[KeyRef, DataKey]:
        rows = await self._rows(refs)
        self._forget_epochs()
        opened = {}
        for row in rows:
            ref = KeyRef(row["subject"], Compartment(row["compartment"]))
            opened[ref] = DataKey(
                self._epochs.unwrap(ref, row["epoch"], row["wrapped"]), ref.compartment
            )
        return opened

    async def _rows(self, refs: Sequence[KeyRef]) -> list[asyncpg.Record]:
        rows: list[asyncpg.Record] = await self._pool.fetch(
            "select k.subject, k.compartment, k.epoch, k.wrapped from keys.data_key k"
            " join unnest($1::uuid[], $2::text[]) r(subject, compartment)"
            " using (subject, compartment)",
            [ref.subject for ref in refs],
            [str(ref.compartment) for ref in refs],
        )
        return rows

    async def _create(self, refs: Sequence[KeyRef]) -> None:
        epoch = self._epochs.current()
        await self._refuse_a_second(epoch, {ref.compartment for ref in refs})
        wrapped = [self._epochs.wrap(ref, epoch, self._effects.token(KEY_BYTES)) for ref in refs]
        await self._pool.execute(
            "insert into keys.data_key (subject, compartment, epoch, wrapped)"
            " select * from unnest($1::uuid[], $2::text[], $3::int[], $4::bytea[])"
            " on conflict do nothing",
            [ref.subject for ref in refs],
            [str(ref.compartment) for ref in refs],
            [epoch] * len(refs),
            wrapped,
        )

    async def _refuse_a_second(self, epoch: int, compartments: Iterable[Compartment]) -> None:
        """Raise :class:`KeyNotLoaded` rather than make an epoch key that another directory has."""
        new = [str(one) for one in compartments if not self._epochs.has(one, epoch)]
        used = "select from keys.data_key where epoch = $1 and compartment = any($2)"
        if new and await self._pool.fetchval(f"select exists ({used})", epoch, new):
            elsewhere = [one for one in new if not self._epochs.has(Compartment(one), epoch)]
            if elsewhere:  # else a process beside this one made them a moment ago
                _logger.warning("epoch_key_elsewhere", epoch=epoch, compartments=elsewhere)
                raise KeyNotLoaded

    def seal(self, ref: KeyRef, event_id: UUID, field: str, text: str) -> str:
        """Seal ``text``; the key must have been loaded with ``create``.

        Raises :class:`KeyNotLoaded` when it was not, :class:`SealBroken` when there is none.
        """
        return self.key(ref).seal(self._effects.token(NONCE_BYTES), event_id, field, text)

    def open(self, ref: KeyRef, event_id: UUID, field: str, sealed: str) -> str:
        """Open what :meth:`seal` made; raise :class:`SealBroken` when it does not open.

        Raises :class:`KeyNotLoaded` when that cannot be said, since the key was not loaded.
        """
        return self.key(ref).open(event_id, field, sealed)

    def open_sealed(self, sealed: Sealed) -> str:
        """Open a value that a projection kept."""
        return self.open(sealed.ref, sealed.event_id, sealed.field, sealed.text)

    def _wrapped_anew(self, row: asyncpg.Record, epoch: int) -> tuple[UUID, str, int, bytes]:
        ref = KeyRef(row["subject"], Compartment(row["compartment"]))
        key = self._epochs.unwrap(ref, row["epoch"], row["wrapped"])
        return ref.subject, str(ref.compartment), epoch, self._epochs.wrap(ref, epoch, key)

    async def rewrap(self) -> list[str]:
        """Wrap every key this role reads under the current epoch; run as owner for all of them.

        Returns the names of the epoch keys destroyed: those of former epochs, but of the last one
        only when it ended an hour ago, since a slower clock may still wrap under it. Raises, with
        nothing changed, when a key that it needs is not in this directory.
        """
        epoch = self._epochs.current()
        await self._refuse_a_second(epoch, Compartment)
        async with self._pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(
                "select subject, compartment, epoch, wrapped from keys.data_key where epoch < $1"
                " for update",
                epoch,
            )
            await connection.executemany(
                "update keys.data_key set epoch = $3, wrapped = $4"
                " where subject = $1 and compartment = $2",
                (self._wrapped_anew(row, epoch) for row in rows),
            )
        return await asyncio.to_thread(
            self._epochs.destroy_before, min(epoch, self._epochs.oldest_in_use())
        )
