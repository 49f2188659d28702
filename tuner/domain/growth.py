"""Does a service get later and later within a window, and is it because more comes in than it can finish?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum, auto
from itertools import pairwise

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
    """LATER if the last fifth's median is twice the first fifth's, and the difference matters against the limit.

    QUEUE if, besides, every fifth is later than the one before, and the answers that came within the window fall
    short of the requests due in it: the queue is longer at the end. `answered_share` is the ratio of the two.
    """
    size = len(latencies_s) // PARTS
    if size < LEAST_PER_PART:
        return Growth.NONE
    medians_s = [nearest_rank(sorted(latencies_s[k * size : (k + 1) * size]), 50.0) for k in range(PARTS)]
    early_s, late_s = medians_s[0], medians_s[-1]
    matters = late_s > early_s and (late_s - early_s) * 1000.0 > SHARE_OF_LIMIT * limit_ms
    if late_s <= LATER_RATIO * early_s or not matters:
        return Growth.NONE
    climbs = all(early < late or math.isinf(early) for early, late in pairwise(medians_s))
    return Growth.QUEUE if climbs and answered_share < CARRIED_SHARE else Growth.LATER
