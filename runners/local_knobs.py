"""Which knobs the local runner can turn. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from tuner.domain.errors import UsageError
from tuner.manifests.config_pbtxt import BATCHING_KNOBS

LOCAL_KNOBS = ("cpu_cores", "memory_gib", "intra_op_threads", *BATCHING_KNOBS)
LOCAL_PREFIXES = ("env.", "arg.")


def unknown_knobs(names: Iterable[str]) -> tuple[str, ...]:
    """Those of the names that a local deployment would not heed."""
    return tuple(name for name in names if name not in LOCAL_KNOBS and not name.startswith(LOCAL_PREFIXES))


def refuse_unknown_knobs(names: Iterable[str]) -> None:
    """Raises UsageError: a knob that turns nothing would be a silent fallback."""
    unknown = unknown_knobs(names)
    if unknown:
        known = ", ".join((*LOCAL_KNOBS, *(f"{prefix}NAME" for prefix in LOCAL_PREFIXES)))
        raise UsageError(f"the local runner cannot set {', '.join(unknown)}", hint=f"it sets {known}")
