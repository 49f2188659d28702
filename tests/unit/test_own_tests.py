"""What a candidate's own tests say against what the models believe; values are log(latency / limit)."""

from __future__ import annotations

import numpy as np
import pytest

from tuner.search.structured.own_tests import chance_alone, is_refuted, proved_alone, tempered

NOISE = 0.2


def several(*values: float) -> tuple[np.ndarray, np.ndarray]:
    return np.array(values), np.full(len(values), NOISE)


def test_the_models_outvote_one_doubtful_test_but_hardly_four():
    one, four = tempered(0.92, *several(-0.03)), tempered(0.92, *several(-0.10, 0.09, -0.01, -0.06))
    assert four < 0.9
    assert four < one


def test_models_that_doubt_are_never_outvoted_by_good_tests():
    assert tempered(0.3, *several(-0.5, -0.5, -0.5)) == pytest.approx(0.3)


def test_a_test_at_the_limit_says_half_and_clearly_late_ones_refute():
    assert chance_alone(*several(0.0)) == pytest.approx(0.5)
    assert is_refuted(*several(1.1))
    assert is_refuted(*several(0.4, 0.5))
    assert not is_refuted(*several(-0.1, -0.2))


def test_three_tests_can_prove_two_cannot():
    assert proved_alone(np.array([-0.3, -0.32])) == 0.0
    assert proved_alone(np.array([-0.3, -0.32, -0.28])) > 0.95
