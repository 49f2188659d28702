"""Tails of the binomial distribution, and the design effect of correlated requests."""

from __future__ import annotations

from collections.abc import Sequence

BATCHES = 20


def binomial_lower_tail(successes: float, trials: float, share: float) -> float:
    """P[X <= successes] for X ~ Binomial(trials, share), continued to real counts by the incomplete beta function.

    Source: Abramowitz & Stegun 26.5.24.
    """
    from scipy.special import betainc

    if successes >= trials:
        return 1.0
    return float(betainc(trials - successes, successes + 1.0, 1.0 - share))


def binomial_upper_tail(successes: float, trials: float, share: float) -> float:
    """P[X >= successes] for X ~ Binomial(trials, share), continued to real counts."""
    from scipy.special import betainc

    if successes <= 0:
        return 1.0
    return float(betainc(successes, trials - successes + 1.0, share))


def design_effect(flags: Sequence[bool], batches: int = BATCHES) -> float:
    """By how much neighbours being alike inflates the variance of the share of true flags; at least 1.

    Batch means: m * var(means of batches of m) / (p (1 - p)). 1 where there is nothing to see: too few requests for
    two per batch, or all flags the same.
    """
    size = len(flags) // batches
    share = sum(flags) / len(flags) if flags else 0.0
    if size < 2 or share in (0.0, 1.0):
        return 1.0
    means = [sum(flags[k * size : (k + 1) * size]) / size for k in range(batches)]
    centre = sum(means) / batches
    variance = sum((mean - centre) ** 2 for mean in means) / (batches - 1)
    return max(1.0, size * variance / (share * (1.0 - share)))
