"""Numbers that people read to each other: random, so that none tells another or how many exist."""

from typing import Final

from services.kernel.effects import Effects

#: no letters that are mistaken for digits or each other
_ALPHABET: Final = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
_LENGTH: Final = 10


def _random(effects: Effects, prefix: str) -> str:
    value = int.from_bytes(effects.token(16), "big")
    digits = []
    for _ in range(_LENGTH):
        value, digit = divmod(value, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    text = "".join(digits)
    return f"{prefix}-{text[:5]}-{text[5:]}"


def request_number(effects: Effects) -> str:
    """Return a fresh number for a request, about 49 random bits."""
    return _random(effects, "R")


def case_number(effects: Effects) -> str:
    """Return a fresh number for a case, about 49 random bits."""
    return _random(effects, "C")
