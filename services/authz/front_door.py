"""The front door: what every way of getting in works with, from the first attempt to a session.

Place in the flow: wired once; logging in, its second step, enrolling, a change of password and a
service client's token are each built on it, and each is one way in. Owns nothing and does nothing
itself: what each piece guarantees is said in the piece's own module.
"""

from dataclasses import dataclass

from services.authz.accounts import Accounts
from services.authz.attempts import Attempts
from services.authz.recording import Recorder
from services.authz.session_ends import Limits
from services.authz.tokens import Tokens
from services.authz.usernames import Usernames
from services.kernel.runtime import Runtime


@dataclass(frozen=True, slots=True)
class FrontDoor:
    """The pieces that the ways in share."""

    runtime: Runtime
    recorder: Recorder
    #: admits an attempt, and records one that failed
    attempts: Attempts
    usernames: Usernames
    accounts: Accounts
    tokens: Tokens
    limits: Limits
