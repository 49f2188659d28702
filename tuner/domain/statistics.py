"""Tails of the binomial and of Student's t distribution, and the design effect of correlated requests."""

from __future__ import annotations

from collections.abc import Sequence

LONGEST_SERIES = 1 << 17


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


def ascending(values: Sequence[float]) -> list[float]:
    """The values sorted: as `sorted`, some times faster."""
    import numpy as np

    ordered: list[float] = np.sort(np.asarray(values, dtype=float)).tolist()
    return ordered


def count_beyond(values: Sequence[float], limit: float) -> int:
    """How many values are larger than the limit; infinite ones are larger than any."""
    import numpy as np

    series = np.asarray(values, dtype=float)
    return int(np.count_nonzero((series > limit) | (series == np.inf)))


def design_effect(values: Sequence[float], limit: float = 0.5, pieces: int = 1) -> float:
    """By how much neighbours being alike inflates the variance of the share of values beyond a limit; at least 1.

    Geyer's initial monotone sequence (Statistical Science 7, 1992, section 3.3): autocovariances are added pair by
    pair until a pair is no longer positive, and no pair counts for more than the one before. Unlike batch means it
    needs no guess of how long neighbours stay alike, so it does not come out low near saturation. 1 where all or
    none are beyond the limit. Infinite values are beyond any limit. Every one of `pieces` equal parts is compared with
    its own share: differences between them that are meant to be are no likeness of neighbours.
    """
    import numpy as np

    given = np.asarray(values, dtype=float)
    series = ((given > limit) | (given == np.inf)).astype(float)
    share = float(series.mean()) if series.size else 0.0
    if share in (0.0, 1.0):
        return 1.0
    block = -(-series.size // LONGEST_SERIES)
    means = series[: series.size // block * block].reshape(-1, block).mean(axis=1)
    count = means.size // 2 * 2
    if count < 4 * pieces:
        return 1.0
    parts = means[: means.size // pieces * pieces].reshape(pieces, -1)
    deviations = (parts - parts.mean(axis=1, keepdims=True)).ravel()
    spectrum = np.fft.rfft(deviations, 1 << (2 * means.size - 1).bit_length())
    covariance = np.fft.irfft(spectrum.real**2 + spectrum.imag**2)[: deviations.size // 2 * 2] / deviations.size
    pairs = covariance[0::2] + covariance[1::2]
    ends = np.flatnonzero(pairs <= 0.0)
    pairs = np.minimum.accumulate(pairs[: ends[0] if ends.size else None])
    # Deviations are from the means of the series itself, which takes about this share off the sum.
    lost = min(0.5, (4 * pairs.size + 1) * pieces / means.size)
    long_run_variance = float(2.0 * pairs.sum() - covariance[0]) / (1.0 - lost)
    return max(1.0, float(block * long_run_variance / (share * (1.0 - share))))


def student_upper_tail(t: float, degrees: float) -> float:
    """P[T >= t] for Student's t with so many degrees of freedom."""
    from scipy.special import stdtr

    return float(stdtr(degrees, -t))


def student_quantile(share: float, degrees: float) -> float:
    """The value that a share of Student's t distribution is below."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, share))
