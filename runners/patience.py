"""The only importer of tenacity: the same request again, with growing random pauses, until a patience ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import tenacity

from tuner.ports import Clock

LONGEST_PAUSE_S = 10.0
Answer = TypeVar("Answer")


def patiently(
    attempt: Callable[[], Answer],
    *,
    passes: Callable[[BaseException], bool],
    wished_s: Callable[[BaseException], float],
    patience_s: float,
    clock: Clock,
) -> Answer:
    """What `attempt` returns, or raises at last. 0 s of patience: it is tried once.

    `passes` says whether an error may pass, `wished_s` for how long the other side wishes to be left alone after it.
    Pauses are random up to a limit that doubles, so that what failed together does not come back together. A wish
    beyond the patience is heeded to its end, and one last attempt is made then: so neither a wish nor a slow other side
    stretches this by more than one attempt.
    """
    ends_s = clock.now_s() + patience_s

    def pause_s(state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        wish_s = wished_s(error) if error else 0.0
        return min(wish_s + _GROWING(state), max(0.0, ends_s - clock.now_s()))

    again = tenacity.Retrying(
        retry=tenacity.retry_if_exception(passes),
        wait=pause_s,
        stop=lambda _state: clock.now_s() >= ends_s,
        sleep=clock.sleep,
        reraise=True,
    )
    return again(attempt)


_GROWING = tenacity.wait_random_exponential(multiplier=0.4, min=0.1, max=LONGEST_PAUSE_S)
