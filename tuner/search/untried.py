"""Which points of the space are left: by index, so that a space of a million points is never written out."""

from __future__ import annotations

import bisect
import random
from collections.abc import Sequence

from tuner.domain.space import Configuration, SearchSpace
from tuner.domain.trial import Failed, Trial


def index_of(space: SearchSpace, configuration: Configuration) -> int:
    """The inverse of `space.at`. Raises ValueError or KeyError outside the space."""
    index = 0
    for knob, level in zip(space.knobs, space.levels(configuration), strict=True):
        index = index * len(knob.values) + level
    return index


def taken_indices(space: SearchSpace, history: Sequence[Trial], pending: Sequence[Configuration]) -> tuple[int, ...]:
    """Ascending indices of what needs no proposal: tried with an outcome that teaches, or pending.

    A trial of another space (an earlier study's) takes nothing.
    """
    tried = [trial.configuration for trial in history if not isinstance(trial.outcome, Failed)]
    return tuple(sorted({index_of(space, c) for c in (*tried, *pending) if c in space}))


def untried_index(taken: Sequence[int], rank: int) -> int:
    """The `rank`-th index (from 0) that is not taken. The number of free indices below taken[k] is taken[k] - k."""
    return rank + bisect.bisect_right(range(len(taken)), rank, key=lambda k: taken[k] - k)


def draw_untried(space: SearchSpace, taken: Sequence[int], source: random.Random) -> Configuration:
    """Each untried configuration is equally likely. Raises ValueError if there is none."""
    return space.at(untried_index(taken, source.randrange(len(space) - len(taken))))


def all_tried(space: SearchSpace) -> str:
    """Why nothing is proposed any more."""
    return f"all {len(space)} configurations were tried"
