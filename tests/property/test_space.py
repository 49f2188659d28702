"""Configurations and the search space hold together for any knobs."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from tests.specs import space_of
from tuner.domain.space import Configuration, SearchSpace

names = st.sampled_from(["cpu_cores", "max_batch_size", "gpu_type", "env.OMP", "arg.x"])
values = st.one_of(
    st.lists(st.integers(-5, 50), min_size=1, max_size=4, unique=True).map(sorted),
    st.lists(st.floats(0.01, 64, allow_nan=False), min_size=1, max_size=4, unique=True).map(sorted),
    st.lists(st.text(min_size=1, max_size=3), min_size=1, max_size=4, unique=True),
).map(tuple)
spaces = st.dictionaries(names, values, min_size=1, max_size=4).map(lambda knobs: space_of(**knobs))


@given(spaces)
def test_iteration_index_and_levels_agree(space: SearchSpace):
    everything = list(space)
    assert len(everything) == len(set(everything)) == len(space)
    for index, configuration in enumerate(everything):
        assert space.at(index) == configuration
        assert configuration in space
        assert space.from_levels(space.levels(configuration)) == configuration


@given(spaces)
def test_a_configuration_is_the_same_in_any_order_and_in_json(space: SearchSpace):
    first = space.at(0)
    backwards = Configuration.of(dict(reversed(first.settings)))
    assert backwards == first
    assert backwards.key == first.key
    assert Configuration.of(json.loads(first.key)) == first


@given(spaces)
def test_what_is_not_in_the_space_is_not_in_it(space: SearchSpace):
    first = space.at(0)
    assert Configuration.of({**first.as_dict(), "another": 1}) not in space
    assert Configuration.of(dict(first.settings[1:])) not in space
