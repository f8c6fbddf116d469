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
        events_delivered: Events sent to live streams, counted once for each of them.
        events_replayed: Events sent to streams that resumed after an absence.
        events_filled: Events read because no publication had brought them, or could not.
        feed_reconciled: How often the database was ahead of the publications to streams.
        resets: Streams that had missed more than they wanted to have replayed.
        signals: Signs of typing and presence sent to streams.
        signals_dropped: … not sent, because much waited for the reader already.
        closes: Closed sockets, by their close code and whether our close frame came first.
    """

    delivered: int = 0
    replayed: int = 0
    filled: int = 0
    reconciled: int = 0
    events_delivered: int = 0
    events_replayed: int = 0
    events_filled: int = 0
    feed_reconciled: int = 0
    resets: int = 0
    signals: int = 0
    signals_dropped: int = 0
    closes: Counter[tuple[int, bool]] = field(default_factory=Counter)
