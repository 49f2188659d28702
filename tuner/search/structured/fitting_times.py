"""After which numbers of observations the models are fitted and judged, asked or not.

A long history is replayed in bounded time, and a resumed search takes the same path as an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Callable

OFTEN, SELDOM = 40, 25
FIRST_OF_FEW, FEW = (2, 3, 5, 8, 12), 20
FittingTimes = Callable[[int], bool]


def while_searching(count: int) -> bool:
    """After each of the first OFTEN: a search asks as often anyway."""
    return count <= OFTEN or count % SELDOM == 0


def to_explain(count: int) -> bool:
    """Where only the end is asked for: often enough to start the last fit well and to tell the models apart."""
    return count in FIRST_OF_FEW or (count > 0 and count % FEW == 0)
