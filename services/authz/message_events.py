"""The vocabulary of messages to staff: what became of each, and whose mailbox is somebody else's.

Authz's own: no other service folds them. No address and no text of a message is in them.
"""

from collections.abc import Mapping
from typing import Final
from uuid import UUID

import msgspec

from services.kernel.codes import Code

MESSAGE_DELIVERED: Final = "authz.message_delivered"
MESSAGE_UNDELIVERED: Final = "authz.message_undelivered"
#: an invitation went where somebody else's messages go too
MAILBOX_SHARED: Final = "authz.mailbox_shared"


class MessageKind(Code):
    """What a message to a member of staff is about."""

    INVITATION = "invitation"
    ADDRESS_CHANGED = "address_changed"


class MessageDelivered(msgspec.Struct, frozen=True, kw_only=True):
    """A channel took a message; ``message_id`` is the id of the fact it tells of."""

    message_id: UUID
    person_id: UUID
    kind: MessageKind
    channel: str


class MessageUndelivered(msgspec.Struct, frozen=True, kw_only=True):
    """A channel did not take a message; tried again later unless ``final``.

    ``reason`` is a code or the type of an error, never what a server said.
    """

    message_id: UUID
    person_id: UUID
    kind: MessageKind
    channel: str
    reason: str
    final: bool = False


class MailboxShared(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody's invitation went to where another person's messages go, its object (SG-4)."""

    person_id: UUID


#: the facts, with their titles
FACTS: Final[Mapping[str, str]] = {
    MESSAGE_DELIVERED: "message delivered",
    MESSAGE_UNDELIVERED: "message not delivered",
}
#: the observations, with their titles
OBSERVATIONS: Final[Mapping[str, str]] = {
    MAILBOX_SHARED: "mailbox shared by two accounts",
}
