"""Numbers that people read to each other: random, so that none tells another or how many exist."""

from typing import Final

from services.kernel.effects import Effects

#: no letters that are mistaken for digits or each other
ALPHABET: Final = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
LENGTH: Final = 10


def written(prefix: str, digits: str) -> str:
    """Return the :data:`LENGTH` digits of a number as people read them to each other."""
    return f"{prefix}-{digits[:5]}-{digits[5:]}"


def _random(effects: Effects, prefix: str) -> str:
    value = int.from_bytes(effects.token(16), "big")
    digits = []
    for _ in range(LENGTH):
        value, digit = divmod(value, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return written(prefix, "".join(digits))


def request_number(effects: Effects) -> str:
    """Return a fresh number for a request, about 49 random bits."""
    return _random(effects, "R")


def case_number(effects: Effects) -> str:
    """Return a fresh number for a case, about 49 random bits."""
    return _random(effects, "C")
