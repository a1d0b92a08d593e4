"""Published codes: closed lists of words, each a constant and its own text."""

from enum import StrEnum


class Code(StrEnum):
    """A member of such a list; equal to its text, and as quick to look up.

    An enumeration hashes its members in Python; decisions look codes up many times a request.
    """

    __hash__ = str.__hash__
