"""Reads the simulated queues: latency percentiles as functions of a few dimensionless numbers."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from scipy.ndimage import map_coordinates

from tuner.search.structured.observation import Floats, QueueTables
from tuner.search.structured.queue_simulation import FAMILIES, STATISTICS
from tuner.search.structured.queue_table_build import CAPS, CORES, DELAYS, FIXED_SHARES, LOADS

TABLE_PATH = Path(__file__).with_name("queue_tables.npz")
MEAN = STATISTICS.index("mean")
MEDIAN = STATISTICS.index("p50")


@cache
def tables(family: str) -> QueueTables:
    """The tables of one arrival family. Raises KeyError if it was never simulated."""
    with np.load(TABLE_PATH) as stored:
        return QueueTables(
            batch=np.ascontiguousarray(np.moveaxis(stored[f"batch/{family}"].astype(float), -1, 0)),
            core=np.ascontiguousarray(np.moveaxis(stored[f"core/{family}"].astype(float), -1, 0)),
            spread=stored[f"spread/{family}"].astype(float),
        )


FAMILY_NAMES: tuple[str, ...] = tuple(family.name for family in FAMILIES)


def _position(value: Floats, grid: Floats) -> Floats:
    return np.asarray(np.interp(value, grid, np.arange(len(grid), dtype=float)))


def batch_coordinates(*, cap: Floats, delay: Floats, fixed_share: Floats, load: Floats) -> Floats:
    """Where these settings lie in the batch tables; `delay` in multiples of the time to fill a batch."""
    places = (
        _position(np.log2(cap), np.log2(CAPS)),
        _position(delay, DELAYS),
        _position(np.sqrt(fixed_share), np.sqrt(FIXED_SHARES)),
        _position(load, LOADS),
    )
    return np.array(np.broadcast_arrays(*places))


def core_coordinates(*, cores: Floats, load: Floats) -> Floats:
    places = (_position(np.log2(cores), np.log2(CORES)), _position(load, LOADS))
    return np.array(np.broadcast_arrays(*places))


def read(table: Floats, coordinates: Floats) -> Floats:
    """Multilinear interpolation."""
    return np.asarray(map_coordinates(table, coordinates, order=1, mode="nearest"))
