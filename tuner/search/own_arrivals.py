"""The queues of the structured search under the very arrivals that a study will send."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from tuner.domain.arrivals import intended_starts_s, mean_share
from tuner.domain.load import LoadProfile
from tuner.search.structured.observation import Floats, QueueTables
from tuner.search.structured.queue_simulation import STATISTICS
from tuner.search.structured.queue_table_build import batch_statistics, core_statistics

# Arrivals with a name have their tables shipped; any other kind is simulated when a study starts, in some seconds.
FEWEST, MOST = 1_000, 4_000
REPEATS = 3
TAIL = STATISTICS.index("p99")
SPREAD_REQUESTS = 20_000  # what `Predicted.noise` is stated for


def family_of(load: LoadProfile) -> str:
    """What the search calls these arrivals; of a name that no table is shipped for, `queues_of` has the queues."""
    return load.arrivals if isinstance(load.arrivals, str) else load.arrivals.kind


def queues_of(load: LoadProfile) -> QueueTables | None:
    """Both stages under this load, simulated request by request; None for arrivals whose tables are shipped.

    As many requests as one window has, within reason: in a short window no queue grows long. Where more replicas share
    the load, its shape is taken to be as long in requests, though it is shorter.
    """
    if isinstance(load.arrivals, str):
        return None
    return _simulated(replace(load, slos=(), seed=0))


@cache
def _simulated(load: LoadProfile) -> QueueTables:
    drawn = [_times(load, seed) for seed in range(REPEATS)]
    batch = np.array([batch_statistics(times) for times in drawn])
    core = np.array([core_statistics(times, seed=seed) for seed, times in enumerate(drawn)])
    requests = np.mean([len(times) for times in drawn])
    return QueueTables(
        batch=np.ascontiguousarray(np.moveaxis(batch.mean(axis=0), -1, 0)),
        core=np.ascontiguousarray(np.moveaxis(core.mean(axis=0), -1, 0)),
        spread=np.std(batch[..., TAIL], axis=0, ddof=1) * np.sqrt(requests / SPREAD_REQUESTS),
    )


def _times(load: LoadProfile, seed: int) -> Floats:
    """Arrivals of one window, in mean gaps."""
    expected = load.offered_rps * load.window_s * mean_share(load.arrivals, load.window_s)
    scale = np.clip(expected, FEWEST, MOST) / expected
    drawn = replace(load, offered_rps=load.offered_rps * scale, warmup_s=0.0, seed=seed)
    starts_s = np.array(intended_starts_s(drawn))
    return np.asarray(starts_s * (len(starts_s) / load.window_s))
