"""Where the programs of the test cluster are; `build_kubernetes.sh` makes those that no package ships."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

KUBERNETES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
FOLDER_VARIABLE = "SERVETUNE_KUBERNETES_BIN"
NODE_VARIABLE = "SERVETUNE_TEST_NODE"


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
        return f"it changes sysctls, /etc/hosts and cgroups of this machine for a while: {NODE_VARIABLE}=1 allows it"
    absent = [name for name in ("containerd", "runc", "ctr") if not shutil.which(name)]
    absent += [] if os.access(kubernetes_folder() / "kubelet", os.X_OK) else ["kubelet"]
    absent += [] if os.geteuid() == 0 else ["root"]
    return f"no {', '.join(absent)}" if absent else ""
