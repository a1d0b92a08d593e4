"""Checks the whole log with code of its own: nothing here was used to write it.

Reads the rows as they are, in one snapshot, beside services that go on appending, and derives
everything again: contiguous positions, the header line of each body against the columns beside it,
canonical JSON, registered types, streams without a gap, the side tables, and the RFC 6962 root.

A body changed into another that could have been written, or a whole tail gone together with its
side rows, shows only against hashes that were taken before, outside the database
(:mod:`services.witness`), or a count and root that somebody kept. Group boundaries are not in the
log, so of a guard it proves that it is not older than its newest touch, and touched at all.

A position that the owner set aside (docs/decisions/0013) is counted and named, its bytes compared
with the leaf hash that the owner named. Of what its JSON says only the keys it touches are looked
at, where they can be read: ``log.guard`` may have them still, under the last fact of its group.
"""

from services.verification.check import verify
from services.verification.findings import Summary, Wrong

__all__ = ["Summary", "Wrong", "verify"]
