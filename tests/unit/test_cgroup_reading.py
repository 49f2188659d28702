"""The files of a control group as the kernel prints them: a container's under version 2, a server's under version 1."""

from __future__ import annotations

import pytest

from runners.cgroup_reading import CgroupReading, flat_keyed, v1_reading, v2_cpu_limit_cores, v2_reading

V2_CONTAINER = {
    "cpu.max": "150000 100000\n",
    "cpu.stat": """\
usage_usec 8143022
user_usec 6920113
system_usec 1222909
core_sched.force_idle_usec 0
nr_periods 412
nr_throttled 57
throttled_usec 3310224
nr_bursts 0
burst_usec 0
""",
    "memory.max": "2147483648\n",
    "memory.peak": "1290919936\n",
    "memory.current": "1123028992\n",
    "memory.stat": """\
anon 612368384
file 480247808
kernel 22863872
kernel_stack 1196032
pagetables 5492736
sock 8192
file_mapped 151687168
inactive_anon 612016128
active_anon 143360
inactive_file 402653184
active_file 77594624
workingset_refault_file 0
oom_kill 0
""",
    "memory.events": "low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\noom_group_kill 0\n",
}
V1_SERVER = {
    "cpu.cfs_quota_us": "25000\n",
    "cpu.cfs_period_us": "100000\n",
    "cpu.stat": "nr_periods 61\nnr_throttled 48\nthrottled_time 3012994817\nnr_bursts 0\nburst_time 0\n",
    "cpuacct.usage": "1503002113\n",
    "memory.limit_in_bytes": "536870912\n",
    "memory.max_usage_in_bytes": "402653184\n",
    "memory.usage_in_bytes": "398458880\n",
    "memory.stat": "cache 221020160\nrss 170393600\ninactive_file 4096\ntotal_inactive_file 219021312\n",
    "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
}


def test_a_containers_files_under_version_2():
    assert v2_reading(V2_CONTAINER) == CgroupReading(
        cpu_s=8.143022,
        periods=412,
        throttled_periods=57,
        cpu_limit_cores=1.5,
        memory_peak_bytes=1290919936,
        memory_limit_bytes=2147483648,
        working_set_bytes=1123028992 - 402653184,
        oom_kills=1,
    )


def test_a_servers_files_under_version_1():
    assert v1_reading(V1_SERVER) == CgroupReading(
        cpu_s=1.503002113,
        periods=61,
        throttled_periods=48,
        cpu_limit_cores=0.25,
        memory_peak_bytes=402653184,
        memory_limit_bytes=536870912,
        working_set_bytes=398458880 - 219021312,
        oom_kills=3,
    )


def test_no_limit_is_none_under_both_versions():
    assert v2_cpu_limit_cores("max 100000\n") is None
    free = v2_reading({**V2_CONTAINER, "cpu.max": "max 100000\n", "memory.max": "max\n"})
    assert (free.cpu_limit_cores, free.memory_limit_bytes) == (None, None)
    unlimited = {"cpu.cfs_quota_us": "-1\n", "memory.limit_in_bytes": "9223372036854771712\n"}
    old = v1_reading({**V1_SERVER, **unlimited})
    assert (old.cpu_limit_cores, old.memory_limit_bytes) == (None, None)


@pytest.mark.parametrize("reading", [v1_reading, v2_reading])
def test_what_a_kernel_does_not_have_is_none(reading):
    assert reading({}) == CgroupReading()
    assert reading({"cpu.stat": "nr_periods 3\n"}).periods == 3


def test_a_file_of_something_else_is_an_error():
    with pytest.raises(ValueError):
        v2_reading({"memory.max": "<html>"})
    assert flat_keyed("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")["oom_kill"] == 3
