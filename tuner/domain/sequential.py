"""Ending a test as soon as its failure is certain. A pass is never declared early: it gets the whole window."""

from __future__ import annotations

from collections.abc import Sequence

from tuner.domain.measurement import count_bad, tally
from tuner.domain.slo import Slo, Tally, looks_bad

LOOKS = 20
INTERIM_RISK = 0.005


def fails_already(latencies_s: Sequence[float], slos: Sequence[Slo]) -> bool:
    """Whether one of at most LOOKS looks at a window that still goes on shows that an SLO is broken.

    Error spending: all looks together may be wrong INTERIM_RISK of the time for a service exactly at its limit, each
    an equal part of that; the verdict at the end has its own risk. `latencies_s` are those of the requests due so
    far, without gaps, failures infinite.
    """
    risk = INTERIM_RISK / LOOKS
    for slo in slos if latencies_s else ():
        bad = count_bad(slo, latencies_s, slos)
        alone = Tally(slo=slo, requests=len(latencies_s), bad=bad, observed=0.0)
        # Only if they could be enough, did every request speak for itself, is it worth finding out whether they do.
        if looks_bad(alone) <= risk and looks_bad(tally(slo, latencies_s, slos)) <= risk:
            return True
    return False
