"""What the sockets of one worker have seen so far.

Plain numbers: counting a message may take no more than a microsecond. Metrics read them once a
second.
"""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Stats:
    """Numbers that only grow.

    Attributes:
        delivered: Messages sent to live sockets, counted once for each of them.
        replayed: Messages sent to sockets that resumed after an absence.
        filled: Messages read to fill a gap, because no publication had brought them in time.
        reconciled: Rooms in which the database was ahead of the publications.
        closes: Closed sockets, by their close code and whether our close frame came first.
    """

    delivered: int = 0
    replayed: int = 0
    filled: int = 0
    reconciled: int = 0
    closes: Counter[tuple[int, bool]] = field(default_factory=Counter)
