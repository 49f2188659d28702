"""Fitting the physics to telemetry and latency: damped least squares in log space, then Laplace draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tuner.search.structured.observation import Floats, Ints, Observation
from tuner.search.structured.physics import Physics, Predicted, Sites

CHANNELS = ("core", "service", "kernel", "median", "tail", "capacity")
SPREAD = np.array([0.05, 0.04, 0.15, 0.10, 0.12, 0.05])
ITERATIONS = 7
STEP = 1e-3
MOST_OBSERVATIONS = 150
SATURATED = 0.97


@dataclass(frozen=True, slots=True)
class Evidence:
    """Served observations as a matrix: channels x observations, NaN where nobody measured."""

    rows: Ints
    sites: Sites
    offered_rps: Floats
    sizes: Floats
    values: Floats
    saturated: Floats


@dataclass(frozen=True, slots=True)
class Fit:
    """The most plausible parameters, the covariance around them, and how well each channel was met."""

    theta: Floats
    covariance: Floats
    spread: Floats
    loss: float


def evidence(physics: Physics, observations: Sequence[Observation]) -> Evidence:
    """The latest served observations; a saturated server tells its capacity, any other its latency."""
    served = [seen for seen in observations if seen.outcome == "served"][-MOST_OBSERVATIONS:]
    rows = np.array([seen.row for seen in served], dtype=np.int64)
    batch = physics.terrain.batch[rows]
    cores = physics.terrain.cores[rows]
    offered = np.array([max(seen.offered_rps, 1e-6) for seen in served])
    through = np.array([max(seen.throughput_rps, 1e-6) for seen in served])
    sizes = np.array([seen.mean_batch or np.nan for seen in served])
    busy = _numbers([seen.busy_cores for seen in served])
    service = _numbers([seen.service_ms for seen in served])
    saturated = through < SATURATED * offered
    channels = np.full((len(CHANNELS), len(served)), np.nan)
    channels[0] = np.where(busy > 0.01 * cores, 1000.0 * busy / through, np.nan)
    channels[1] = np.where(np.isfinite(sizes), service, np.nan)
    channels[2] = np.where(np.isfinite(sizes), _numbers([seen.kernel_ms for seen in served]), np.nan)
    channels[3] = np.where(saturated, np.nan, _numbers([seen.median_ms for seen in served]))
    latency = np.array([seen.latency_ms for seen in served])
    channels[4] = np.where(saturated | ~np.isfinite(latency), np.nan, latency)
    channels[5] = np.where(saturated, through, np.nan)
    return Evidence(
        rows=rows,
        sites=physics.sites(rows),
        offered_rps=offered,
        sizes=np.where(np.isfinite(sizes), sizes, batch),
        values=np.log(np.maximum(channels, 1e-9)),
        saturated=saturated.astype(float),
    )


def _numbers(values: Sequence[float | None]) -> Floats:
    return np.array([np.nan if value is None or value <= 0.0 else value for value in values], dtype=float)


def channels_of(predicted: Predicted) -> Floats:
    """draws x channels x sites, in the order of CHANNELS."""
    return np.stack(
        [
            predicted.log_core_ms,
            predicted.log_service_ms,
            predicted.log_kernel_ms,
            predicted.log_median_ms,
            predicted.log_tail_ms,
            predicted.log_capacity_rps,
        ],
        axis=1,
    )


def predicted_channels(physics: Physics, known: Evidence, theta: Floats, family: str) -> Floats:
    return channels_of(
        physics.predict(theta, known.sites, family=family, offered_rps=known.offered_rps, sizes=known.sizes)
    )


def fit(physics: Physics, known: Evidence, *, family: str, start: Floats | None, noise: Floats) -> Fit:
    """Maximum a posteriori by Levenberg-Marquardt with Huber weights; `noise` adds to the latency channels' spread."""
    prior = physics.prior
    theta = prior.mean.copy() if start is None else start.copy()
    measured = np.isfinite(known.values)
    spread = np.repeat(SPREAD[:, None], known.values.shape[1], axis=1)
    if len(known.rows) == 0:
        return Fit(theta, np.linalg.inv(prior.precision), SPREAD, 0.0)
    spread[3:5] = np.hypot(spread[3:5], noise * np.array([[0.5], [1.0]]))
    damping, best = 1e-2, np.inf
    precision = prior.precision
    gradient = np.zeros(len(theta))
    candidate = theta
    for _ in range(ITERATIONS):
        steps = np.vstack([candidate, candidate + STEP * np.eye(len(theta))])
        found = predicted_channels(physics, known, steps, family)
        off = np.where(measured, (found[0] - np.nan_to_num(known.values)) / spread, 0.0)
        weight = 1.0 / np.maximum(1.0, np.abs(off) / 2.0)
        away = candidate - prior.mean
        loss = float(np.sum(_huber(off)) + 0.5 * away @ prior.precision @ away)
        if loss <= best:
            if best - loss < 1e-3:
                theta, best = candidate, loss
                break
            theta, best, damping = candidate, loss, damping * 0.3
            slope = np.where(measured, (found[1:] - found[0]) / STEP / spread, 0.0).reshape(len(theta), -1)
            weighted = slope * weight.ravel()
            precision = weighted @ slope.T + prior.precision
            gradient = weighted @ off.ravel() + prior.precision @ away
        else:
            damping *= 8.0
        stiff = precision + damping * np.diag(np.diag(precision))
        candidate = theta - np.clip(np.linalg.solve(stiff, gradient), -1.5, 1.5)
    final = predicted_channels(physics, known, theta[None], family)[0]
    misfit = _misfit(np.where(measured, final - np.nan_to_num(known.values), np.nan))
    inflate = np.mean(np.maximum(misfit / SPREAD, 1.0)[measured.any(axis=1)]) ** 2
    return Fit(theta, np.linalg.inv(precision) * inflate, np.maximum(misfit, SPREAD), best)


def _huber(off: Floats) -> Floats:
    size = np.abs(off)
    return np.asarray(np.where(size <= 2.0, 0.5 * off**2, 2.0 * size - 2.0))


def _misfit(off: Floats) -> Floats:
    """Per channel, a spread of the residuals that one outlier cannot move far, shrunk to the expected one."""
    found = []
    for k, row in enumerate(off):
        seen = np.abs(row[np.isfinite(row)])
        typical = 1.4826 * float(np.median(seen)) if len(seen) else SPREAD[k]
        found.append((typical * len(seen) + 4.0 * SPREAD[k]) / (len(seen) + 4.0))
    return np.array(found)


def draws(fitted: Fit, count: int, seed: int) -> Floats:
    """Parameter draws around the fit; the first is the fit itself, the others come in mirrored pairs."""
    source = np.random.default_rng(seed)
    half = source.standard_normal((count // 2, len(fitted.theta)))
    values, vectors = np.linalg.eigh(fitted.covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    spread = np.concatenate([half, -half]) @ root.T
    return np.vstack([fitted.theta, fitted.theta + spread])
