"""Text and times as requests may carry them: normalised, printable, bounded.

Annotated types for request models. What is refused is named by an error type, never repeated.
PostgreSQL cannot store NUL and UTF-8 has no lone surrogates; direction overrides would let a name
show as another one.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Annotated, Final, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    StrictBool,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError

MAX_LINE: Final = 200
MAX_PROSE: Final = 20_000
#: bytes of all texts of a body, by :func:`written_bytes`: sealed they grow by a third, and an event
#: holds 65,535 with what stands around them
MAX_TEXTS: Final = 40_000
#: controls, lone surrogates, and separators of lines and paragraphs, as Unicode names categories:
#: a capital letter and a small one
_REFUSED: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
#: embeddings, overrides and isolates of writing direction
_DIRECTION: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_IN_PROSE: Final = frozenset("\n\t")
#: marks upon one letter (UAX #15, stream-safe text): more take as many times longer to put in order
_MOST_MARKS: Final = 30
_TOO_MANY_MARKS: Final = (_MOST_MARKS + 1) * "M"
#: what JSON writes as two bytes, of the characters that a text may have
_ESCAPED: Final = ('"', "\\", "\n", "\t")
#: RFC 3339, 5.6, with the space that it allows; which of them there are is for the parser to say
_RFC_3339: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_EARLIEST_YEAR: Final = 1900
_LATEST_YEAR: Final = 2200


def _check(text: str, allowed: frozenset[str], limit: int) -> str:
    shown = text
    for character in allowed:
        shown = shown.replace(character, " ")
    if not (shown.isascii() and shown.isprintable()):
        _check_characters(shown)
    text = unicodedata.normalize("NFC", text)
    if not text.strip():
        raise PydanticCustomError("text_blank", "text is blank")
    if len(text) > limit:  # some characters are longer in NFC
        raise PydanticCustomError("text_too_long", "text is too long")
    return text


def _check_characters(text: str) -> None:
    # all categories at once: one after the other, long texts would keep everybody waiting
    categories = "".join(map(unicodedata.category, text))
    if any(refused in categories for refused in _REFUSED) or any(c in text for c in _DIRECTION):
        raise PydanticCustomError("text_unprintable", "text holds a character it may not")
    if _TOO_MANY_MARKS in categories[::2]:
        raise PydanticCustomError("text_marks", "text holds too many marks on one letter")


def _line(text: str) -> str:
    return _check(text.strip(), frozenset(), MAX_LINE)


def _prose(text: str) -> str:
    return _check(text.replace("\r\n", "\n").replace("\r", "\n"), _IN_PROSE, MAX_PROSE)


def _written_out(value: object) -> object:
    """Refuse what is a moment to nobody but the parser, such as a number of seconds."""
    if isinstance(value, datetime) or (isinstance(value, str) and _RFC_3339.fullmatch(value)):
        return value
    raise PydanticCustomError("moment_not_rfc_3339", "not a time of RFC 3339 with its offset")


def _moment(moment: datetime) -> datetime:
    if not _EARLIEST_YEAR <= moment.year <= _LATEST_YEAR:
        raise PydanticCustomError("moment_out_of_range", "no such year")
    return moment.astimezone(UTC)


def _within(limit: int) -> StringConstraints:
    return StringConstraints(strict=True, min_length=1, max_length=limit)


#: 1 to 200 characters on a single line, white space around it removed, NFC
Line = Annotated[str, _within(MAX_LINE), AfterValidator(_line)]
#: 1 to 20,000 characters, line feeds and tabs allowed, NFC
Prose = Annotated[str, _within(MAX_PROSE), AfterValidator(_prose)]
#: a time of RFC 3339 with its offset, from 1900 to 2200, in UTC: no number, no date alone
Moment = Annotated[AwareDatetime, BeforeValidator(_written_out), AfterValidator(_moment)]
#: true or false, and nothing that only reads like one of them
Flag = StrictBool


def written_bytes(text: str) -> int:
    """Return how many bytes of UTF-8 ``text`` is in JSON, quotes around it not counted."""
    return len(text.encode()) + sum(map(text.count, _ESCAPED))


def _texts(value: object) -> Iterator[str]:
    """Yield every text in ``value``, however deep; codes and ids are none."""
    match value:
        case Enum():
            pass
        case str():
            yield value
        case BaseModel():
            yield from _texts(value.__dict__)
        case Mapping():
            yield from _texts(value.values())
        case Iterable():
            for one in value:
                yield from _texts(one)
        case _:
            pass


class Body(BaseModel):
    """A request's body: a field that is not known is an error, and nothing in it changes.

    All its texts together have at most :data:`MAX_TEXTS` bytes, so that they can be recorded. What
    parses it keeps no text of it, as it would short ones, for who sends the same again.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, cache_strings="keys")

    @model_validator(mode="after")
    def _recordable(self) -> Self:
        if sum(map(written_bytes, _texts(self))) > MAX_TEXTS:
            raise PydanticCustomError(f"texts_over_{MAX_TEXTS}_bytes", "texts are too long")
        return self
