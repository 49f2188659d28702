"""Control groups as values, for the machines we know: v1 mounts, joint mounts, containers, v2 with systemd."""

from __future__ import annotations

from pathlib import Path

import pytest

from runners.cgroup_plan import Limits, parse_hierarchies, v1_plan, v2_plan

HALF_A_CORE = Limits(cpu_cores=0.5, memory_bytes=None)
SMALL = Limits(cpu_cores=1.25, memory_bytes=120 << 20)

V1_MOUNTS = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
V1_OWN = "4:memory:/jobs/17\n3:cpuset:/\n2:cpu,cpuacct:/user.slice\n1:name=systemd:/\n0::/\n"
V2_MOUNTS = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V2_OWN = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/shell.scope\n"

CPU, MEMORY = Path("/sys/fs/cgroup/cpu,cpuacct/user.slice"), Path("/sys/fs/cgroup/memory/jobs/17")
ROOT = Path("/sys/fs/cgroup")


def test_v1_groups_lie_below_our_own_and_joint_controllers_share_a_folder():
    plan = v1_plan(parse_hierarchies(V1_MOUNTS, V1_OWN), "st", SMALL, writable={CPU, MEMORY})
    assert plan is not None
    assert plan.folders == (CPU / "st", MEMORY / "st")
    assert dict(plan.writes) == {
        CPU / "st/cpu.cfs_period_us": "100000",
        CPU / "st/cpu.cfs_quota_us": "125000",
        MEMORY / "st/memory.limit_in_bytes": "125829120",
    }


def test_v1_without_the_right_to_limit_memory_serves_studies_without_a_memory_limit_only():
    hierarchies = parse_hierarchies(V1_MOUNTS, V1_OWN)
    assert v1_plan(hierarchies, "st", SMALL, writable={CPU}) is None
    plan = v1_plan(hierarchies, "st", HALF_A_CORE, writable={CPU})
    assert plan is not None
    assert plan.folders == (CPU / "st",)


def test_v1_without_the_right_to_limit_cpu_time_is_no_plan():
    assert v1_plan(parse_hierarchies(V1_MOUNTS, V1_OWN), "st", HALF_A_CORE, writable={MEMORY}) is None


def test_a_container_that_sees_only_its_own_part_uses_the_mount_itself():
    mounts = "35 31 0:32 /docker/abc /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
    inside = parse_hierarchies(mounts, "1:cpu:/docker/abc/child\n")
    outside = parse_hierarchies(mounts, "1:cpu:/elsewhere\n")
    assert dict(inside.v1) == {"cpu": ROOT / "cpu/child"}
    assert dict(outside.v1) == {"cpu": ROOT / "cpu"}


def test_v2_group_lies_in_the_nearest_folder_that_offers_both_controllers():
    hierarchies = parse_hierarchies(V2_MOUNTS, V2_OWN)
    service = ROOT / "user.slice/user-1000.slice/user@1000.service"
    offered = {
        ROOT: ("cpuset", "cpu", "memory"),
        service: ("cpu", "memory", "pids"),
        service / "app.slice": ("memory", "pids"),
    }
    plan = v2_plan(hierarchies, "st", SMALL, offered=offered)
    assert plan is not None
    assert plan.folders == (service / "st",)
    assert dict(plan.writes) == {
        service / "st/cpu.max": "125000 100000",
        service / "st/memory.max": "125829120",
        service / "st/memory.swap.max": "0",
    }
    assert plan.members == (service / "st/cgroup.procs",)


@pytest.mark.parametrize("precedence", [True, False])
def test_a_server_on_cores_of_its_own_goes_before_other_programs(precedence: bool):
    limits = Limits(cpu_cores=0.5, memory_bytes=None, precedence=precedence)
    v1 = v1_plan(parse_hierarchies(V1_MOUNTS, V1_OWN), "st", limits, writable={CPU})
    v2 = v2_plan(parse_hierarchies(V2_MOUNTS, "0::/\n"), "st", limits, offered={ROOT: ("cpu", "memory")})
    assert v1 is not None
    assert v2 is not None
    assert dict(v1.writes).get(CPU / "st/cpu.shares") == ("10240" if precedence else None)
    assert dict(v2.writes).get(ROOT / "st/cpu.weight") == ("1000" if precedence else None)


def test_v2_group_is_never_put_into_our_own_folder():
    hierarchies = parse_hierarchies(V2_MOUNTS, V2_OWN)
    assert hierarchies.v2_own is not None
    assert v2_plan(hierarchies, "st", HALF_A_CORE, offered={hierarchies.v2_own: ("cpu", "memory")}) is None


def test_v2_process_in_the_root_group_uses_the_root():
    plan = v2_plan(parse_hierarchies(V2_MOUNTS, "0::/\n"), "st", HALF_A_CORE, offered={ROOT: ("cpu", "memory")})
    assert plan is not None
    assert plan.folders == (ROOT / "st",)
