"""Does a service get later and later within a window, and is it because more comes in than it can finish?"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto

from tuner.domain.histogram import nearest_rank

PARTS = 5
LEAST_PER_PART = 10
LATER_RATIO = 2.0
SHARE_OF_LIMIT = 0.25
CARRIED_SHARE = 0.98


class Growth(Enum):
    """What the latencies of one window do. LATER: they grow; QUEUE: because the offered load is not carried."""

    NONE = auto()
    LATER = auto()
    QUEUE = auto()


def growth_of(latencies_s: Sequence[float], limit_ms: float, answered_share: float) -> Growth:
    """LATER if the last fifth's median is twice the first fifth's, the difference matters against the limit, and it is
    there to stay: three quarters of each of the last two fifths are later than nine tenths of the first.

    A queue in its steady state has long and short hours too; that most of two fifths lies beyond nearly all of one
    came by chance in at most 1 % of windows of 3,000 requests (tests/benchmarks/growing_queues.py). QUEUE if, besides,
    the answers that came within the window fall short of the requests due in it: the queue is longer at the end.
    `answered_share` is the ratio of the two.
    """
    size = len(latencies_s) // PARTS
    if size < LEAST_PER_PART:
        return Growth.NONE
    parts = [sorted(latencies_s[k * size : (k + 1) * size]) for k in range(PARTS)]
    medians_s = [nearest_rank(part, 50.0) for part in parts]
    early_s, late_s = medians_s[0], medians_s[-1]
    matters = late_s > early_s and (late_s - early_s) * 1000.0 > SHARE_OF_LIMIT * limit_ms
    if late_s <= LATER_RATIO * early_s or not matters:
        return Growth.NONE
    stays = min(nearest_rank(part, 25.0) for part in parts[-2:]) > nearest_rank(parts[0], 90.0)
    if not stays or min(medians_s[-2:]) <= medians_s[1]:
        return Growth.NONE
    return Growth.QUEUE if answered_share < CARRIED_SHARE else Growth.LATER
