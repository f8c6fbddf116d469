"""What the sockets of one worker have seen so far.

Plain numbers, for there is a microsecond for all that is counted of a message; whoever
wants to publish them reads them when it suits.
"""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Stats:
    """Numbers that only grow.

    Attributes:
        delivered: Messages handed to live sockets, counted once for each of them.
        replayed: Messages handed to sockets that asked for what they had missed.
        filled: Messages that no ring had brought in time, read to fill a gap.
        swept: Rooms in which a sweep found more than rings had brought.
        closes: Sockets that are gone, by their close code and whether it was ours.
    """

    delivered: int = 0
    replayed: int = 0
    filled: int = 0
    reconciled: int = 0
    closes: Counter[tuple[int, bool]] = field(default_factory=Counter)
