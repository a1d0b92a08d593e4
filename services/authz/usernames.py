"""User names: found by a keyed digest, so that what was typed is never stored (SG-18).

People type passwords into the field for the name. The digest is an HMAC under a secret of the
installation; the name itself is kept sealed, with the person it belongs to.
"""

import hashlib
import hmac
import unicodedata


class Usernames:
    """Digests user names under ``installation.secret("username")``."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def digest(self, username: str) -> str:
        """Return the keyed digest of a name, the same for every way of writing it."""
        name = unicodedata.normalize("NFKC", username).strip().casefold()
        return hmac.new(self._secret, name.encode(), hashlib.sha256).hexdigest()


def username_once(digest: str) -> bytes:
    """Once-key that keeps a user name from being registered twice."""
    return f"username:{digest}".encode()
