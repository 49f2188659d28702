"""Which candidates do not even start: memory from measured peaks, slices from the catalogue and from refusals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tuner.search.structured.observation import Floats, Ints, Observation, Terrain

PEAK_SPREAD = 0.06
REFUSAL_KNOWN = 0.97
SLICES_ENFORCED_PRIOR = 0.5
ODD_REFUSAL = 0.02
SLICE_TOLERANCE = 0.03


def fits_in_memory(terrain: Terrain, observations: Sequence[Observation], rows: Ints) -> Floats:
    """P[enough accelerator memory]: a fixed part plus a part per request of a batch and instance, both learned."""
    specs = terrain.accelerators
    if not specs:
        return _alike(terrain, observations, rows)
    size = np.array([spec.memory_gib or np.inf for spec in specs])
    room = (size[terrain.accelerator] * terrain.share).astype(float)
    load = terrain.batch * terrain.instances
    fixed, slope, log_weight = _particles(terrain)
    for seen in observations:
        need = fixed * terrain.instances[seen.row] + slope * load[seen.row]
        if seen.outcome == "served" and seen.memory_peak_gib:
            log_weight = log_weight - 0.5 * (np.log(need / seen.memory_peak_gib) / PEAK_SPREAD) ** 2
        if seen.outcome == "served":
            log_weight = log_weight + np.log(_below(need, room[seen.row]) + 1e-4)
        if seen.outcome == "out_of_memory":
            log_weight = log_weight + np.log(1.0 - _below(need, room[seen.row]) + 1e-3)
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    keep = weight > 1e-5
    keys = np.column_stack([room[rows], load[rows], terrain.instances[rows]])
    kinds, place = np.unique(keys, axis=0, return_inverse=True)
    need = fixed[keep] * kinds[:, [2]] + slope[keep] * kinds[:, [1]]
    chance = _below(need, kinds[:, [0]]) @ weight[keep] / weight[keep].sum()
    return np.asarray(chance[place.ravel()])


def _alike(terrain: Terrain, observations: Sequence[Observation], rows: Ints) -> Floats:
    """Where nothing is known of memory: how often candidates started, weighted by how many knobs they share."""
    started = np.full(len(rows), 1.9)
    total = np.full(len(rows), 2.0)
    for seen in observations:
        if seen.outcome == "failed":
            continue
        apart = sum((knob.positions[rows] != knob.positions[seen.row]).astype(float) for knob in terrain.knobs)
        weight = np.exp(-1.2 * np.asarray(apart)) * 8.0
        total += weight
        started += weight * (seen.outcome == "served")
    return np.asarray(started / total)


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
    kinds = _kinds(terrain)
    odd = _odd_slice(terrain)
    refused = {int(kinds[seen.row]) for seen in observations if seen.outcome == "unschedulable"}
    placed = {int(kinds[seen.row]) for seen in observations if seen.outcome in ("served", "out_of_memory")}
    log_odds = np.log(SLICES_ENFORCED_PRIOR / (1.0 - SLICES_ENFORCED_PRIOR))
    odd_kinds = {int(kind) for kind in np.unique(kinds[odd])}
    log_odds += sum(np.log(REFUSAL_KNOWN / 0.1) for kind in refused if kind in odd_kinds)
    log_odds += sum(np.log((1.0 - REFUSAL_KNOWN) / 0.9) for kind in placed if kind in odd_kinds)
    enforced = 1.0 / (1.0 + np.exp(-np.clip(log_odds, -30, 30)))
    surprising = len([kind for kind in refused if kind not in odd_kinds])
    base = (surprising + ODD_REFUSAL * 10.0) / (len(refused | placed) + 10.0)
    chance = np.where(odd[rows], 1.0 - enforced * REFUSAL_KNOWN, 1.0 - base)
    chance = np.where(np.isin(kinds[rows], list(placed)), 0.995, chance)
    return np.where(np.isin(kinds[rows], list(refused)), 0.01, chance)


def _kinds(terrain: Terrain) -> Ints:
    """One number per (accelerator type, share); the whole configuration where there are no accelerators."""
    if not terrain.accelerators:
        return np.arange(terrain.size, dtype=np.int64)
    _, share = np.unique(terrain.share, return_inverse=True)
    return np.asarray(terrain.accelerator * 1000 + share.ravel(), dtype=np.int64)


def _odd_slice(terrain: Terrain) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """True where the catalogue lists slices for this type and none of them has this share."""
    odd = np.zeros(terrain.size, dtype=bool)
    for k, spec in enumerate(terrain.accelerators):
        if spec.slices:
            known = np.array(spec.slices)
            near = np.abs(terrain.share[:, None] - known).min(axis=1) <= SLICE_TOLERANCE
            odd |= (terrain.accelerator == k) & ~near
    return odd
