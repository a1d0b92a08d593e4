"""Finding learners by name without names in the clear: truncated keyed digests of words.

A word is folded (case, macrons and marks away) and each of its beginnings from two letters on
becomes a token of 32 bits, so that a token found says little by itself; whoever searches opens
what was found and compares the names. Under which secret is the business of
:mod:`services.cases.name_index`; no token is ever in an event.
"""

import hmac
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, Final

_SHORTEST: Final = 2
_LONGEST: Final = 6
_TOKEN_BYTES: Final = 4
#: what a learner is found by, of what is said of who they are
_FIELDS: Final = ("given_name", "family_name", "preferred_name", "student_number")


def fold_word(text: str) -> str:
    """Return ``text`` in lower case without macrons, accents or punctuation."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in decomposed if c.isalnum())


def words_of(text: str) -> list[str]:
    """Return the folded words of ``text``: split at spaces and hyphens, not at apostrophes."""
    words = (fold_word(word) for word in text.replace("-", " ").split())
    return [word for word in words if word]


def names_of(basic: Mapping[str, Any]) -> list[str]:
    """Return the names and the number that a learner is found by."""
    return [str(basic[field]) for field in _FIELDS if basic.get(field)]


def _token(secret: bytes, text: str) -> int:
    digest = hmac.digest(secret, text.encode(), "sha256")
    return int.from_bytes(digest[:_TOKEN_BYTES], "big", signed=True)


def name_tokens(
    secret: bytes, names: Iterable[str], made: dict[str, int] | None = None
) -> list[int]:
    """Return the tokens to keep for a learner called ``names`` (a student number counts too).

    ``made`` holds tokens under the same secret from learners before, and takes these in.
    """
    made = {} if made is None else made
    beginnings: set[str] = set()
    for word in {word for name in names for word in words_of(name)}:
        for length in range(_SHORTEST, min(len(word), _LONGEST) + 1):
            beginnings.add(word[:length])
    for beginning in beginnings:
        if beginning not in made:
            made[beginning] = _token(secret, beginning)
    return sorted({made[beginning] for beginning in beginnings})


def query_tokens(secret: bytes, query: str) -> list[int]:
    """Return one token for each word of ``query`` that is long enough to look up."""
    return [_token(secret, w[:_LONGEST]) for w in words_of(query) if len(w) >= _SHORTEST]


def matches(query: str, names: Iterable[str]) -> bool:
    """Say whether every word of ``query`` begins some word of ``names``."""
    known = [word for name in names for word in words_of(name)]
    return all(any(k.startswith(w) for k in known) for w in words_of(query))
