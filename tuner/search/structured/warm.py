"""A warm start that is given up once this study's own tests say that the earlier ones mislead."""

from __future__ import annotations

import numpy as np

from tuner.search.structured.earlier import NO_EARLIER, Earlier
from tuner.search.structured.engine import StructuredSearch
from tuner.search.structured.observation import Observation, Terrain

# Log odds that an earlier study can be believed, before anything was tested; one test may not move them far.
BELIEVED = 1.0
MOST_FOR, MOST_AGAINST = 1.0, 4.0
JUDGED_TESTS = 10


class WarmSearch:
    """Two searches told the same tests, one of them with what earlier studies say; `now` is the one believed.

    Each test is foretold by both before they learn of it. After JUDGED_TESTS of them, or once the warm one has been
    wrong too often, only one is left, for good.
    """

    def __init__(self, terrain: Terrain, earlier: Earlier = NO_EARLIER) -> None:
        self.now = StructuredSearch(terrain, earlier)
        self._cold = StructuredSearch(terrain) if earlier else None
        self._odds = BELIEVED
        self._judged = 0

    def observe(self, seen: Observation) -> None:
        """Learn from one test, and judge by it what earlier studies said."""
        cold = self._cold
        if cold is None:
            self.now.observe(seen)
            return
        if seen.outcome == "served":
            gain = self.now.foretold(seen) - cold.foretold(seen)
            self._odds += float(np.clip(gain, -MOST_AGAINST, MOST_FOR))
            self._judged += 1
        for search in (cold, self.now):
            search.observe(seen)
        if self._odds < 0.0:
            self.now, self._cold = cold, None
        elif self._judged >= JUDGED_TESTS:
            self._cold = None
