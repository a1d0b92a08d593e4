"""The courier: brings pending messages to their channel, beside the requests.

Place in the flow: ``log -> deliveries -> channel -> log``. What became of each attempt is a fact.
At least once: a process that dies between the channel and the log delivers the message again,
under the same id. The one place where an invitation's secret is made readable, and it goes into
the letter alone.
"""

import asyncio
from datetime import datetime
from itertools import repeat
from typing import Final, assert_never
from uuid import UUID

import msgspec

from services.authz import events as e
from services.authz.channels import Channel, Letter, Undelivered
from services.authz.deliveries import SETTLES, Message, claim, forget_leases, stream_of
from services.authz.invitations import INVITATION_LASTS, Invitations
from services.authz.mailboxes import Mailboxes
from services.authz.message_events import (
    MAILBOX_SHARED,
    MESSAGE_DELIVERED,
    MESSAGE_UNDELIVERED,
    MailboxShared,
    MessageDelivered,
    MessageKind,
    MessageUndelivered,
)
from services.authz.recording import data_of, person_object
from services.kernel import telemetry
from services.kernel.events import Event, Outcome
from services.kernel.groups import Group
from services.kernel.log import VersionConflict
from services.kernel.runtime import Runtime
from services.kernel.sealing import SealBroken

_INVITATION: Final = """\
You are invited to set a password and a second factor for Casewarden.

Invitation: {token}
Serves once, until: {until}
Reference: {reference}

Whoever holds the invitation can act in your name: give it to nobody,
whoever asks. A password or second factor you had before lets nobody in any
more. Your user name comes from whoever leads your organisation; if you did
not expect this, tell them, by another way than by answering.
"""
_ADDRESS_CHANGED: Final = """\
The work e-mail address of your Casewarden account was changed.

Invitations to set a new password still come here until: {until}
Reference: {reference}

If you did not ask for this, tell whoever leads your organisation, or the
Ministry's administrators, before then.
"""


_OUTCOMES: Final = ("delivered", "failed", "given_up")


class Courier:
    """Delivers what is due; see the module."""

    def __init__(self, runtime: Runtime, channel: Channel, invitations: Invitations) -> None:
        self._runtime = runtime
        self._channel = channel
        self._invitations = invitations
        self._mailboxes = Mailboxes(runtime)
        self._turn = asyncio.Lock()
        for outcome in _OUTCOMES:
            telemetry.MESSAGES.labels(channel.name, outcome)

    @property
    def channel(self) -> str:
        """The name of the channel."""
        return self._channel.name

    async def sweep(self) -> int:
        """Try everything that is due and that no other process has; return how many were tried.

        Raises :class:`Unavailable` while the log cannot be written or folded: nothing is sent that
        could not be recorded.
        """
        tried = 0
        async with self._turn:
            self._runtime.projector.check_whole()
            now = self._runtime.effects.now
            while (message := await claim(self._runtime.pool, now())) is not None:
                await self._record(message, *await self._tried(message))
                tried += 1
        return tried

    async def housekeeping(self) -> None:
        """Forget what no process holds any more."""
        await forget_leases(self._runtime.pool, self._runtime.effects.now())

    async def _tried(self, message: Message) -> tuple[Undelivered | None, frozenset[UUID]]:
        """Deliver a message; return why that was not done, and whose mailbox it is besides."""
        if self._runtime.effects.now() >= message.issued_at + INVITATION_LASTS:
            return Undelivered("expired", final=True), frozenset()
        try:
            letter = await self._letter(message)
            others = await self._others(message, letter)
            await self._channel.deliver(letter)
        except Undelivered as undelivered:
            return undelivered, frozenset()
        except SealBroken:
            return Undelivered("no_address", final=True), frozenset()
        return None, others

    async def _others(self, message: Message, letter: Letter) -> frozenset[UUID]:
        if message.kind is not MessageKind.INVITATION:
            return frozenset()
        return await self._mailboxes.others(message.person_id, letter.to)

    async def _letter(self, message: Message) -> Letter:
        await self._runtime.keys.load([message.profile.ref])
        opened = self._runtime.keys.open_sealed(message.profile)
        to = msgspec.json.decode(opened, type=e.Profile).email
        subject, text = self._said(message)
        return Letter(message.id, to, subject, text, self._runtime.effects.now())

    def _said(self, message: Message) -> tuple[str, str]:
        """Return subject and text, in the person's hands only."""
        match message.kind:
            case MessageKind.INVITATION:
                invitation = self._invitations.of(message.id)
                text = _INVITATION.format(
                    token=invitation.token,
                    until=_shown(invitation.expires_at),
                    reference=message.id,
                )
                return "Your Casewarden invitation", text
            case MessageKind.ADDRESS_CHANGED:
                until = _shown(self._runtime.effects.now() + SETTLES)
                text = _ADDRESS_CHANGED.format(until=until, reference=message.id)
                return "Your Casewarden address was changed", text
            case _ as never:
                assert_never(never)

    async def _record(
        self, message: Message, undelivered: Undelivered | None, others: frozenset[UUID]
    ) -> None:
        events = [self._event(message, undelivered), *map(self._shared, repeat(message), others)]
        try:
            position = await self._runtime.log.append(Group(events))
        except VersionConflict as other:
            # Another process had it too, after our lease was over: the letter went out twice.
            position = other.position
        await self._runtime.projector.reached(position)
        outcome = "delivered"
        if undelivered is not None:
            outcome = "given_up" if undelivered.final else "failed"
        telemetry.MESSAGES.labels(self.channel, outcome).inc()

    def _event(self, message: Message, undelivered: Undelivered | None) -> Event:
        effects = self._runtime.effects
        payload: MessageDelivered | MessageUndelivered = MessageDelivered(
            message_id=message.id,
            person_id=message.person_id,
            kind=message.kind,
            channel=self.channel,
        )
        if undelivered is not None:
            payload = MessageUndelivered(
                **msgspec.structs.asdict(payload),
                reason=undelivered.reason,
                final=undelivered.final,
            )
        return Event(
            id=effects.new_id(),
            type=MESSAGE_DELIVERED if undelivered is None else MESSAGE_UNDELIVERED,
            stream=stream_of(message.id),
            version=message.failures + 1,
            recorded_at=effects.now(),
            action="deliver",
            outcome=Outcome.ALLOWED if undelivered is None else Outcome.FAILED,
            object=person_object(message.person_id),
            organisation_id=message.organisation_id,
            data=data_of(payload),
        )

    def _shared(self, message: Message, other: UUID) -> Event:
        """Return what security is alerted by; of no organisation, so nobody else is told."""
        effects = self._runtime.effects
        return Event(
            id=effects.new_id(),
            type=MAILBOX_SHARED,
            recorded_at=effects.now(),
            action="deliver",
            object=person_object(other),
            data=data_of(MailboxShared(person_id=message.person_id)),
        )


def _shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
