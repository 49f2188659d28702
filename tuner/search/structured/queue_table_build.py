"""Builds `queue_tables.npz`: `python -m tuner.search.structured.queue_table_build OUT`. Takes some minutes."""

from __future__ import annotations

import sys

import numpy as np

from tuner.search.structured.queue_simulation import FAMILIES, ArrivalFamily, Floats, arrivals, batch_stage, core_stage

CAPS = np.array([1, 2, 4, 8, 16, 32, 64, 128], dtype=float)
DELAYS = np.array([0.0, 0.1, 0.3, 1.0, 3.0])
FIXED_SHARES = np.array([0.0, 0.04, 0.12, 0.3, 0.6, 1.0])
LOADS = np.array([0.03, 0.1, 0.2, 0.35, 0.5, 0.6, 0.7, 0.78, 0.85, 0.9, 0.94, 0.97, 1.0, 1.05, 1.2, 2.0, 8.0])
CORES = np.array([1, 2, 3, 4, 6, 8, 12, 16, 32, 64, 128], dtype=float)
REQUESTS = 20_000
REPEATS = 3
WORK_SPREAD = 0.3


def batch_table(family: ArrivalFamily, *, requests: int, seed: int, caps: Floats = CAPS) -> Floats:
    """`batch_statistics` of a family's arrivals."""
    return batch_statistics(arrivals(family, requests, seed), caps=caps)


def batch_statistics(times: Floats, *, caps: Floats = CAPS) -> Floats:
    """Log statistics over caps x delays (in multiples of the time to fill a batch) x fixed shares x loads.

    `times` ascend with mean gap 1.
    """
    cap, delay, share, load = np.meshgrid(caps, DELAYS, FIXED_SHARES, LOADS, indexing="ij")
    shape = cap.shape
    cap, delay, share, load = (axis.ravel() for axis in (cap, delay, share, load))
    fixed, slope = load * share * cap, load * (1.0 - share)
    parts = [  # one cap at a time: the waits of all settings at once would fill the memory
        batch_stage(times, cap=cap[k], fixed=fixed[k], slope=slope[k], delay=(delay * cap)[k])
        for k in np.array_split(np.arange(cap.size), len(caps))
    ]
    return np.log(np.maximum(np.concatenate(parts), 1e-3)).reshape(*shape, -1)


def core_table(family: ArrivalFamily, *, requests: int, seed: int) -> Floats:
    """`core_statistics` of a family's arrivals."""
    return core_statistics(arrivals(family, requests, seed), seed=seed + 1)


def core_statistics(times: Floats, *, seed: int) -> Floats:
    """Log statistics over cores x loads, in units of the mean gap between arrivals; `seed` draws the work."""
    sigma = np.sqrt(np.log1p(WORK_SPREAD**2))
    spread = np.random.default_rng(seed).lognormal(-0.5 * sigma**2, sigma, len(times))
    rows = [core_stage(times, cores=int(n), service=LOADS * n, spread=spread) for n in CORES]
    return np.log(np.maximum(np.array(rows), 1e-6))


def main(path: str) -> None:
    tables: dict[str, Floats] = {}
    for family in FAMILIES:
        batch = [batch_table(family, requests=REQUESTS, seed=17 + k) for k in range(REPEATS)]
        core = [core_table(family, requests=REQUESTS, seed=17 + k) for k in range(REPEATS)]
        tables[f"batch/{family.name}"] = np.mean(batch, axis=0)
        tables[f"core/{family.name}"] = np.mean(core, axis=0)
        tables[f"spread/{family.name}"] = np.std(np.array(batch)[..., 3], axis=0, ddof=1)
    small = {name: table.astype(np.float16) for name, table in tables.items()}
    np.savez_compressed(path, allow_pickle=False, **small)


if __name__ == "__main__":
    main(sys.argv[1])
