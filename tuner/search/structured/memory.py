"""Which candidates do not even start: memory from measured peaks, slices from the catalogue and from refusals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tuner.search.structured.observation import Floats, Ints, Observation, Terrain

PEAK_SPREAD = 0.06
REPLICAS = "replicas"
REFUSAL_KNOWN = 0.97
SLICES_ENFORCED_PRIOR = 0.5
ODD_REFUSAL = 0.02
SLICE_TOLERANCE = 0.03
PRIOR_STARTS = 1.0
NEIGHBOUR_WEIGHT = 6.0
NEIGHBOUR_RADIUS = 0.25
# What a type may have that no data sheet lists: 24 GiB, or a third or three times that.
UNLISTED_GIB = np.geomspace(4.0, 300.0, 18)
UNLISTED_TYPICAL_GIB = 24.0
UNLISTED_SPREAD = 0.7


def fits_in_memory(terrain: Terrain, observations: Sequence[Observation], rows: Ints) -> Floats:
    """P[enough accelerator memory]: a fixed part plus a part per request of a batch and instance, both learned.

    So is the memory of a type that no data sheet lists.
    """
    if not terrain.accelerators:
        return np.ones(len(rows))
    told = [seen for seen in observations if seen.outcome in ("served", "out_of_memory")]
    fixed, slope, log_weight = _particles(terrain)
    for seen in told:
        share, load, instances = (float(column[0]) for column in _demands(terrain, np.array([seen.row])))
        need = fixed * instances + slope * load
        if seen.outcome == "served" and seen.memory_peak_gib:
            log_weight = log_weight - 0.5 * (np.log(need / seen.memory_peak_gib) / PEAK_SPREAD) ** 2
        size = terrain.accelerators[int(terrain.accelerator[seen.row])].memory_gib
        if size is not None:
            log_weight = log_weight + _log_seen(seen, need, size * share)
    keep = log_weight > log_weight.max() + np.log(1e-4)
    weight = np.exp(log_weight[keep] - log_weight.max())
    needs = _Needs(fixed[keep], slope[keep], weight / weight.sum())
    found = np.ones(len(rows))
    for k, spec in enumerate(terrain.accelerators):
        mine = terrain.accelerator[rows] == k
        if mine.any():
            here = [seen for seen in told if terrain.accelerator[seen.row] == k] if spec.memory_gib is None else []
            found[mine] = _fits(terrain, needs, here, rows[mine], spec.memory_gib)
    return found


@dataclass(frozen=True, slots=True)
class _Needs:
    """Weighted guesses at what one instance takes: GiB, and GiB for each request held."""

    fixed: Floats
    slope: Floats
    weight: Floats


def _fits(terrain: Terrain, needs: _Needs, seen_here: Sequence[Observation], rows: Ints, size: float | None) -> Floats:
    """On one type, whose size is known or guessed together with the needs."""
    sizes = UNLISTED_GIB if size is None else np.array([size])
    joint = np.log(needs.weight)[:, None] + np.zeros(len(sizes))
    if size is None:
        joint = joint - 0.5 * (np.log(sizes / UNLISTED_TYPICAL_GIB) / UNLISTED_SPREAD) ** 2
    for seen in seen_here:
        share, load, instances = (float(column[0]) for column in _demands(terrain, np.array([seen.row])))
        need = needs.fixed * instances + needs.slope * load
        joint = joint + _log_seen(seen, need[:, None], sizes * share)
    weight = np.exp(joint - joint.max())
    weight /= weight.sum()
    kinds, place = np.unique(np.column_stack(_demands(terrain, rows)), axis=0, return_inverse=True)
    chance = np.zeros(len(kinds))
    for k, (share, load, instances) in enumerate(kinds):
        need = needs.fixed * instances + needs.slope * load
        chance[k] = np.sum(weight * _below(need[:, None], sizes * share))
    return np.asarray(chance[place.ravel()])


def _log_seen(seen: Observation, need: Floats, room: Floats | float) -> Floats:
    """Log likelihood of what one start showed."""
    fits = _below(need, room)
    return np.asarray(np.log(fits + 1e-4) if seen.outcome == "served" else np.log(1.0 - fits + 1e-3))


def _demands(terrain: Terrain, rows: Ints) -> tuple[Floats, Floats, Floats]:
    """Per row: share of an accelerator, requests held at once, instances."""
    instances = terrain.instances[rows]
    return terrain.share[rows], terrain.batch[rows] * instances, instances


def starts_like_others(terrain: Terrain, observations: Sequence[Observation], rows: Ints) -> Floats:
    """P[nothing else is in the way]: how often similar candidates started, for refusals that nothing here explains."""
    unexplained = ("infeasible",) if terrain.accelerators else ("infeasible", "out_of_memory", "unschedulable")
    if not any(seen.outcome in unexplained for seen in observations):
        return np.ones(len(rows))
    started, total = np.full(len(rows), 0.97 * PRIOR_STARTS), np.full(len(rows), PRIOR_STARTS)
    here = _places(terrain, rows)
    for seen in observations:
        if seen.outcome != "failed":
            apart = np.sum((here - _places(terrain, np.array([seen.row]))) ** 2, axis=1)
            weight = NEIGHBOUR_WEIGHT * np.exp(-0.5 * apart / NEIGHBOUR_RADIUS**2)
            total += weight
            started += weight * (seen.outcome not in unexplained)
    return np.asarray(started / total)


def _places(terrain: Terrain, rows: Ints) -> Floats:
    """Rows x coordinates: the position of every knob on [0, 1], or one coordinate a label. Replicas start alike."""
    columns = [np.zeros(len(rows))]
    for knob in terrain.knobs:
        if knob.name == REPLICAS:
            continue
        at = knob.positions[rows]
        if knob.numbers is None:
            columns += [0.7 * (at == k) for k in range(len(knob.labels))]
        else:
            columns.append(at / max(1, len(knob.labels) - 1))
    return np.column_stack(columns).astype(float)


def _particles(terrain: Terrain) -> tuple[Floats, Floats, Floats]:
    weights = terrain.weights_gib or 0.3
    fixed, slope = np.meshgrid(np.geomspace(0.05, 80.0, 60), np.geomspace(1e-4, 4.0, 48), indexing="ij")
    log_weight = -0.5 * (np.log(fixed / (1.15 * weights + 0.8)) / 0.5) ** 2
    log_weight -= 0.5 * (np.log(slope / 0.03) / 1.5) ** 2
    return fixed.ravel(), slope.ravel(), log_weight.ravel()


def _below(need: Floats, room: Floats | float) -> Floats:
    """Smooth: allocators fragment, and the fitted line is not exact."""
    ratio = np.log(np.maximum(np.asarray(room), 1e-6) / need) / 0.03
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(ratio, -30, 30))))


def can_be_scheduled(terrain: Terrain, observations: Sequence[Observation], rows: Ints) -> Floats:
    """P[the cluster has such a slice]: the catalogue's slices if refusals confirm them, and every refusal seen."""
    if not terrain.accelerators:
        return np.ones(len(rows))
    refused = _rows_where(observations, ("unschedulable",))
    placed = _rows_where(observations, ("served", "out_of_memory"))
    refused_kinds = set(_kinds(terrain, refused).tolist())
    placed_kinds = set(_kinds(terrain, placed).tolist()) - refused_kinds
    odd_refused = set(_kinds(terrain, refused[_odd_slice(terrain, refused)]).tolist())
    odd_placed = set(_kinds(terrain, placed[_odd_slice(terrain, placed)]).tolist())
    log_odds = np.log(SLICES_ENFORCED_PRIOR / (1.0 - SLICES_ENFORCED_PRIOR))
    log_odds += len(odd_refused) * np.log(REFUSAL_KNOWN / 0.1) + len(odd_placed) * np.log((1.0 - REFUSAL_KNOWN) / 0.9)
    enforced = 1.0 / (1.0 + np.exp(-np.clip(log_odds, -30, 30)))
    surprising = len(refused_kinds - odd_refused)
    base = (surprising + ODD_REFUSAL * 10.0) / (len(refused_kinds | placed_kinds) + 10.0)
    kinds = _kinds(terrain, rows)
    chance = np.where(_odd_slice(terrain, rows), 1.0 - enforced * REFUSAL_KNOWN, 1.0 - base)
    chance = np.where(np.isin(kinds, list(placed_kinds)), 0.995, chance)
    return np.where(np.isin(kinds, list(refused_kinds)), 0.01, chance)


def _rows_where(observations: Sequence[Observation], outcomes: tuple[str, ...]) -> Ints:
    return np.array([seen.row for seen in observations if seen.outcome in outcomes], dtype=np.int64)


def _kinds(terrain: Terrain, rows: Ints) -> Ints:
    """One number per (accelerator type, share)."""
    return np.asarray(terrain.accelerator[rows] * 100_000 + np.round(terrain.share[rows] * 10_000).astype(np.int64))


def _odd_slice(terrain: Terrain, rows: Ints) -> NDArray[np.bool_]:
    """True where the catalogue lists slices for this type and none of them has this share."""
    odd = np.zeros(len(rows), dtype=bool)
    for k, spec in enumerate(terrain.accelerators):
        if spec.slices:
            near = np.abs(terrain.share[rows][:, None] - np.array(spec.slices)).min(axis=1) <= SLICE_TOLERANCE
            odd |= (terrain.accelerator[rows] == k) & ~near
    return odd
