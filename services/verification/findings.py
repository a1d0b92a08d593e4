"""What checking the log comes to: how much was found sound, or the first thing that is wrong."""

from dataclasses import dataclass


class Wrong(Exception):  # noqa: N818 - a finding
    """The first thing that is wrong: where, and why."""

    def __init__(self, position: int, why: str) -> None:
        super().__init__(f"position {position}: {why}")
        self.position = position
        self.why = why


@dataclass(frozen=True, slots=True)
class Summary:
    """What was checked: how many events and facts, and the root of the tree over them.

    ``leaves`` are the leaf hashes that were not witnessed before, in order; ``aside`` the positions
    that were set aside.
    """

    events: int
    facts: int
    root: str
    leaves: tuple[bytes, ...] = ()
    aside: tuple[int, ...] = ()
