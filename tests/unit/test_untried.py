from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tests.specs import space_of
from tuner.domain.space import SearchSpace
from tuner.search.untried import draw_untried, index_of, untried_index

SPACE = space_of(cpu_cores=(1, 2, 4), gpu_type=("T4", "L4"), max_batch_size=(1, 8))
SPACES = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(
    lambda sizes: space_of(**{f"knob{k}": tuple(range(size)) for k, size in enumerate(sizes)})
)


@given(space=SPACES)
def test_a_configuration_is_at_its_index(space: SearchSpace):
    assert [index_of(space, configuration) for configuration in space] == list(range(len(space)))


@given(taken=st.sets(st.integers(0, 60)))
def test_the_free_indices_in_order_are_those_not_taken(taken: set[int]):
    free = [index for index in range(80) if index not in taken]
    assert [untried_index(sorted(taken), rank) for rank in range(len(free))] == free


def test_every_free_point_is_drawn_equally_often():
    taken = (0, 1, 5, 11)
    source = random.Random(2)
    drawn = Counter(index_of(SPACE, draw_untried(SPACE, taken, source)) for _ in range(8000))
    assert set(drawn) == set(range(12)) - set(taken)
    assert max(drawn.values()) - min(drawn.values()) < 200
