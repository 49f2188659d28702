"""A warm start that has to earn its place: earlier studies are believed once they foretold this study's own tests."""

from __future__ import annotations

import numpy as np

from tuner.search.structured.earlier import NO_EARLIER, Earlier
from tuner.search.structured.engine import StructuredSearch
from tuner.search.structured.fitting_times import FittingTimes, while_searching
from tuner.search.structured.observation import Observation, Terrain

# Log odds that earlier studies can be believed, before anything was tested: tests that claim to be of the same model,
# and mere estimates from other models. One test may not move them far.
SAME_MODEL, OTHER_MODEL = 0.5, -0.5
MOST_FOR, MOST_AGAINST = 2.0, 4.0
JUDGED_TESTS = 10


class WarmSearch:
    """Two searches told the same tests, one of them with what earlier studies say; `now` is the one believed.

    Both foretell each test before they learn of it. Until one was foretold, the cold search decides: a first test that
    an earlier study misled would be lost, and the cold one's is informative under either. After JUDGED_TESTS only one
    is left, for good.
    """

    def __init__(
        self, terrain: Terrain, earlier: Earlier = NO_EARLIER, fitted_at: FittingTimes = while_searching
    ) -> None:
        self.now = StructuredSearch(terrain, fitted_at=fitted_at)
        self._other = StructuredSearch(terrain, earlier, fitted_at) if earlier else None
        self._odds = SAME_MODEL if earlier.observations else OTHER_MODEL
        self._judged = 0

    def observe(self, seen: Observation) -> None:
        """Learn from one test, and judge by it what earlier studies said."""
        other = self._other
        if other is None:
            self.now.observe(seen)
            return
        cold, warm = (other, self.now) if self.now.earlier else (self.now, other)
        if seen.outcome == "served":
            gain = warm.foretold(seen) - cold.foretold(seen)
            self._odds += float(np.clip(gain, -MOST_AGAINST, MOST_FOR))
            self._judged += 1
        for search in (cold, warm):
            search.observe(seen)
        self.now, other = (warm, cold) if self._judged and self._odds > 0.0 else (cold, warm)
        self._other = other if self._judged < JUDGED_TESTS else None
