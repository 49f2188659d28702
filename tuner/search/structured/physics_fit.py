"""Fitting the physics to telemetry and latency: damped least squares in log space, then Laplace draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tuner.search.structured.observation import Bools, Floats, Ints, Observation
from tuner.search.structured.physics import Physics, Predicted, Sites

CAPACITY = 5
CHANNELS = ("core", "service", "kernel", "median", "tail", "capacity")
SPREAD = np.array([0.05, 0.04, 0.15, 0.10, 0.12, 0.05])
ITERATIONS = 10
STEP = 1e-3
DRAW_STEPS = 6
MOST_OBSERVATIONS = 150
SATURATED = 0.97
FULL_TEST = 20_000


@dataclass(frozen=True, slots=True)
class Evidence:
    """Served observations as a matrix: channels x observations, NaN where nobody measured.

    Where a server was given up on (`collapsed`), what it finished is less than what it could: its capacity lies between
    that and `ceiling`, the log of the offered load.
    """

    rows: Ints
    sites: Sites
    offered_rps: Floats
    sizes: Floats
    values: Floats
    saturated: Floats
    doubt: Floats
    collapsed: Bools
    ceiling: Floats


@dataclass(frozen=True, slots=True)
class Fit:
    """The most plausible parameters, the curvature around them, and how well each channel was met.

    `slope` holds d(residual)/d(parameter), residuals in units of `scale`; `precision` the curvature of the loss.
    `loss` is in units of `believed`, the spreads thought beforehand; `scale` are those found, `off` the residuals.
    """

    theta: Floats
    precision: Floats
    slope: Floats
    scale: Floats
    believed: Floats
    off: Floats
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
    latency = np.array([seen.latency_ms for seen in served])
    collapsed = saturated & ~np.isfinite(latency)
    channels[0] = np.where((busy > 0.01 * cores) & ~collapsed, 1000.0 * busy / through, np.nan)
    channels[1] = np.where(np.isfinite(sizes), service, np.nan)
    channels[2] = np.where(np.isfinite(sizes), _numbers([seen.kernel_ms for seen in served]), np.nan)
    channels[3] = np.where(saturated, np.nan, _numbers([seen.median_ms for seen in served]))
    channels[4] = np.where(saturated | ~np.isfinite(latency), np.nan, latency)
    channels[5] = np.where(saturated, through, np.nan)
    return Evidence(
        rows=rows,
        sites=physics.sites(rows),
        offered_rps=offered,
        sizes=np.where(np.isfinite(sizes), sizes, batch),
        values=np.log(np.maximum(channels, 1e-9)),
        saturated=saturated.astype(float),
        doubt=np.array([seen.doubt for seen in served]),
        collapsed=collapsed,
        ceiling=np.log(offered),
    )


def _numbers(values: Sequence[float | None]) -> Floats:
    return np.array([np.nan if value is None or value <= 0.0 else value for value in values], dtype=float)


def channels_of(predicted: Predicted) -> Floats:
    """Draws x channels x sites, in the order of CHANNELS."""
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
    if len(known.rows) == 0:
        none = np.zeros((len(theta), 0))
        return Fit(
            theta, prior.precision, none, np.zeros((len(CHANNELS), 0)), np.zeros((len(CHANNELS), 0)), none[0], 0.0
        )
    scale = _scale(known, SPREAD, noise)
    best = _linearised(physics, known, theta, family=family, scale=scale)
    damping = 1e-2
    for _ in range(ITERATIONS):
        stiff = best.precision + damping * np.diag(np.diag(best.precision))
        step = np.clip(np.linalg.solve(stiff, _gradient(physics, best)), -1.5, 1.5)
        tried = _linearised(physics, known, best.theta - step, family=family, scale=scale)
        if tried.loss >= best.loss:
            damping *= 10.0
            continue
        settled = best.loss - tried.loss < 1e-2
        best, damping = tried, damping * 0.2
        if settled:
            break
    off = (best.off * best.scale.ravel()).reshape(known.values.shape)
    misfit = np.maximum(_misfit(np.where(np.isfinite(known.values), off, np.nan)), SPREAD)
    wide = _linearised(physics, known, best.theta, family=family, scale=_scale(known, misfit, noise))
    return Fit(wide.theta, wide.precision, wide.slope, wide.scale, scale, wide.off, best.loss)


def _scale(known: Evidence, spread: Floats, noise: Floats) -> Floats:
    scale = np.repeat(spread[:, None], known.values.shape[1], axis=1)
    scale[3:5] = np.hypot(scale[3:5], noise * np.array([[0.5], [1.0]]))
    return np.asarray(np.hypot(scale, known.doubt))


def _off(known: Evidence, found: Floats) -> Floats:
    """Predicted minus measured, 0 where nobody measured; of a collapsed server, what its bounds leave."""
    off = np.where(np.isfinite(known.values), found - np.nan_to_num(known.values), 0.0)
    if known.collapsed.any():
        capacity = off[..., CAPACITY, :]
        room = known.ceiling - np.nan_to_num(known.values[CAPACITY])
        excess = np.where(capacity > 0.0, np.maximum(capacity - room, 0.0), capacity)
        off[..., CAPACITY, :] = np.where(known.collapsed, excess, capacity)
    return np.asarray(off)


def _exact(known: Evidence) -> Bools:
    """What was measured, and not only bounded."""
    exact = np.isfinite(known.values)
    exact[CAPACITY] &= ~known.collapsed
    return exact


def _residuals(known: Evidence, found: Floats, scale: Floats) -> Floats:
    return np.asarray(_off(known, found) / scale)


def _linearised(physics: Physics, known: Evidence, theta: Floats, *, family: str, scale: Floats) -> Fit:
    steps = np.vstack([theta, theta + STEP * np.eye(len(theta))])
    found = predicted_channels(physics, known, steps, family)
    off = _residuals(known, found[0], scale)
    slope = ((_residuals(known, found[1:], scale) - off) / STEP).reshape(len(theta), -1)
    weight = 1.0 / np.maximum(1.0, np.abs(off).ravel() / 2.0)
    away = theta - physics.prior.mean
    loss = float(np.sum(_huber(off)) + 0.5 * away @ physics.prior.precision @ away)
    precision = (slope * weight) @ slope.T + physics.prior.precision
    return Fit(theta, precision, slope, scale, scale, off.ravel(), loss)


def _gradient(physics: Physics, at: Fit) -> Floats:
    weight = 1.0 / np.maximum(1.0, np.abs(at.off) / 2.0)
    return np.asarray(at.slope @ (weight * at.off) + physics.prior.precision @ (at.theta - physics.prior.mean))


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


def draws(physics: Physics, known: Evidence, fitted: Fit, *, family: str, count: int, seed: int) -> Floats:
    """Posterior draws by randomised maximum likelihood; the first is the fit itself.

    Every draw answers to data and prior shifted by their own spread (Oliver 1996), by Gauss-Newton steps that share
    the curvature at the fit; a step that does not help its draw is halved.
    """
    source = np.random.default_rng(seed)
    width = len(fitted.theta)
    root = np.linalg.inv(np.linalg.cholesky(physics.prior.precision)).T
    centre = physics.prior.mean + source.standard_normal((count, width)) @ root.T
    shift = source.standard_normal((count, *known.values.shape)) if len(known.rows) else np.zeros((count, 0))
    shift = np.where(_exact(known), shift, 0.0) if len(known.rows) else shift
    pull = (centre - physics.prior.mean) @ physics.prior.precision
    if not len(known.rows):
        return np.vstack([fitted.theta, centre])
    gain = np.linalg.inv(fitted.precision)
    theta = fitted.theta + (shift.reshape(count, -1) @ fitted.slope.T + pull) @ gain

    def off(at: Floats) -> Floats:
        found = predicted_channels(physics, known, at, family)
        return _residuals(known, found, fitted.scale) - shift

    def loss(at: Floats, left: Floats) -> Floats:
        away = at - centre
        prior = 0.5 * np.einsum("ij,jk,ik->i", away, physics.prior.precision, away)
        return np.asarray(np.sum(_huber(left), axis=(1, 2)) + prior)

    left = off(theta)
    reached, length = loss(theta, left), np.ones(count)
    for _ in range(DRAW_STEPS):
        flat = left.reshape(count, -1)
        weighted = flat / np.maximum(1.0, np.abs(flat) / 2.0)
        slope = weighted @ fitted.slope.T + (theta - centre) @ physics.prior.precision
        tried = theta - length[:, None] * np.clip(slope @ gain, -1.5, 1.5)
        other = off(tried)
        value = loss(tried, other)
        better = value < reached
        theta[better], left[better], reached[better] = tried[better], other[better], value[better]
        length = np.where(better, np.minimum(1.0, length * 1.5), length * 0.4)
    return np.vstack([fitted.theta, theta])
