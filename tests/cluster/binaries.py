"""Where the programs of the test cluster are; `build_kubernetes.sh` makes those that no package ships."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

KUBERNETES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
FOLDER_VARIABLE = "SERVETUNE_KUBERNETES_BIN"
NODE_VARIABLE = "SERVETUNE_TEST_NODE"
CGROUPS = Path("/sys/fs/cgroup")
SYSCTLS = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops")
"""Which kubelet sets."""


def kubernetes_folder() -> Path:
    """Where the built programs are looked for."""
    default = Path.home() / ".cache" / "servetune" / "kubernetes-1.20.2" / "bin"
    return Path(os.environ.get(FOLDER_VARIABLE, default))


def missing_control_plane() -> str:
    """Why no control plane can be started here; empty: it can."""
    folder = kubernetes_folder()
    absent = [name for name in KUBERNETES if not os.access(folder / name, os.X_OK)]
    absent += [name for name in ("etcd", "openssl", "setpriv") if not shutil.which(name)]
    hint = "tests/cluster/build_kubernetes.sh builds them"
    return f"no {', '.join(absent)} (looked in {folder} and PATH); {hint}" if absent else ""


def missing_node() -> str:
    """Why no real node can be started here; empty: it can."""
    if not os.environ.get(NODE_VARIABLE):
        return f"it changes sysctls and control groups of this machine for a while: {NODE_VARIABLE}=1 allows it"
    absent = [name for name in ("containerd", "runc", "ctr", "mount") if not shutil.which(name)]
    absent += [] if os.access(kubernetes_folder() / "kubelet", os.X_OK) else ["kubelet"]
    absent += [] if os.geteuid() == 0 else ["root"]
    return f"no {', '.join(absent)}" if absent else forbidden()


def forbidden() -> str:
    """What a kubelet does and this machine forbids, found by trying it; empty: nothing."""
    tried: dict[str, Callable[[], None]] = {
        "make control groups": make_group,
        "set sysctls": write_back,
        "mount an overlay": mount_overlay,
    }
    for what, attempt in tried.items():
        try:
            attempt()
        except (OSError, subprocess.CalledProcessError) as error:
            return f"this machine does not let us {what}: {error}"
    return ""


def make_group() -> None:
    version_1 = [top for top in (CGROUPS / "cpu", CGROUPS / "memory", CGROUPS / "pids") if top.is_dir()]
    for top in version_1 or [CGROUPS]:
        group = top / f"servetune-probe-{os.getpid()}"
        group.mkdir()
        group.rmdir()


def write_back() -> None:
    for name in SYSCTLS:
        file = Path("/proc/sys", name)
        file.write_text(file.read_text())


def mount_overlay() -> None:
    """In a folder of pytest's own kind: the file system below counts, too."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("lower", "upper", "work", "merged"):
            Path(folder, name).mkdir()
        layers = f"lowerdir={folder}/lower,upperdir={folder}/upper,workdir={folder}/work"
        merged = f"{folder}/merged"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, merged], check=True, capture_output=True)
        subprocess.run(["umount", merged], check=True, capture_output=True)
