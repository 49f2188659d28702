"""What the files of a control group say of the processes in it, whoever read them: here, or inside a pod. Pure.

Source: the kernel's admin-guide, cgroup-v1 (memory, cpuacct, sched-bwc) and cgroup-v2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

V1_FILES = (
    "cpu.cfs_quota_us",
    "cpu.cfs_period_us",
    "cpu.stat",
    "cpuacct.usage",
    "memory.limit_in_bytes",
    "memory.max_usage_in_bytes",
    "memory.usage_in_bytes",
    "memory.stat",
    "memory.oom_control",
)
V2_FILES = (
    "cpu.max",
    "cpu.stat",
    "memory.max",
    "memory.peak",
    "memory.current",
    "memory.stat",
    "memory.events",
)

# v1 has no word for "no limit": it says the largest multiple of a page that fits into 63 bits.
_V1_NO_LIMIT = 1 << 62


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupReading:
    """Counters of a group since it was made, and its limits; None where there is no limit, or no such file.

    `working_set_bytes` is the memory in use without the files that have not been touched for a while: what Kubernetes
    calls the working set of a container.
    """

    cpu_s: float | None = None
    periods: int | None = None
    throttled_periods: int | None = None
    cpu_limit_cores: float | None = None
    memory_peak_bytes: int | None = None
    memory_limit_bytes: int | None = None
    working_set_bytes: int | None = None
    oom_kills: int | None = None


def v2_reading(texts: Mapping[str, str]) -> CgroupReading:
    """From the texts of those `V2_FILES` that exist, by file name. Raises ValueError for what is none of them."""
    stat = flat_keyed(texts.get("cpu.stat", ""))
    return CgroupReading(
        cpu_s=stat["usage_usec"] / 1e6 if "usage_usec" in stat else None,
        periods=stat.get("nr_periods"),
        throttled_periods=stat.get("nr_throttled"),
        cpu_limit_cores=v2_cpu_limit_cores(texts["cpu.max"]) if "cpu.max" in texts else None,
        memory_peak_bytes=_number(texts, "memory.peak"),
        memory_limit_bytes=_number(texts, "memory.max"),
        working_set_bytes=_working_set(texts, "memory.current", "inactive_file"),
        oom_kills=flat_keyed(texts.get("memory.events", "")).get("oom_kill"),
    )


def v1_reading(texts: Mapping[str, str]) -> CgroupReading:
    """From the texts of those `V1_FILES` that exist, by file name. Raises ValueError for what is none of them."""
    stat = flat_keyed(texts.get("cpu.stat", ""))
    usage_ns, limit_bytes = _number(texts, "cpuacct.usage"), _number(texts, "memory.limit_in_bytes")
    quota_us, period_us = _number(texts, "cpu.cfs_quota_us"), _number(texts, "cpu.cfs_period_us")
    return CgroupReading(
        cpu_s=None if usage_ns is None else usage_ns / 1e9,
        periods=stat.get("nr_periods"),
        throttled_periods=stat.get("nr_throttled"),
        cpu_limit_cores=quota_us / period_us if quota_us is not None and period_us and quota_us > 0 else None,
        memory_peak_bytes=_number(texts, "memory.max_usage_in_bytes"),
        memory_limit_bytes=limit_bytes if limit_bytes is not None and limit_bytes < _V1_NO_LIMIT else None,
        working_set_bytes=_working_set(texts, "memory.usage_in_bytes", "total_inactive_file"),
        oom_kills=flat_keyed(texts.get("memory.oom_control", "")).get("oom_kill"),
    )


def v2_cpu_limit_cores(text: str) -> float | None:
    """`cpu.max` is a quota and a period in microseconds; a quota of `max` is no limit. Raises ValueError."""
    quota, period = text.split()
    return None if quota == "max" else int(quota) / int(period)


def flat_keyed(text: str) -> dict[str, int]:
    """A file of `key number` lines, such as `cpu.stat`. Raises ValueError for any other."""
    return {key: int(value) for key, value in (line.split() for line in text.splitlines() if line)}


def _number(texts: Mapping[str, str], name: str) -> int | None:
    """A file that holds one number, or `max` for none."""
    text = texts.get(name, "max").strip()
    return None if text == "max" else int(text)


def _working_set(texts: Mapping[str, str], usage_name: str, idle_key: str) -> int | None:
    usage = _number(texts, usage_name)
    idle_files = flat_keyed(texts.get("memory.stat", "")).get(idle_key)
    return None if usage is None or idle_files is None else max(0, usage - idle_files)
