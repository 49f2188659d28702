"""A real node: containerd and kubelet on this machine, and afterwards the machine as it was."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tests.cluster.binaries import CGROUPS, SYSCTLS, kubernetes_folder
from tests.cluster.control_plane import ControlPlane
from tests.cluster.image import PAUSE, docker_archive, python_layer
from tests.cluster.processes import await_true, running
from tests.cluster.rest import Refused
from tests.cluster.runners import IMAGE


@contextmanager
def real_node(plane: ControlPlane, folder: Path) -> Iterator[str]:
    """The name of a Ready node whose containerd has the test image; no pod of it may be left at the end."""
    with ExitStack() as stack:
        stack.enter_context(sysctls_restored())
        stack.enter_context(ended_in_order())
        stack.callback(remove_cgroups)
        stack.callback(unmount_below, folder)
        socket = stack.enter_context(containerd(folder))
        stack.enter_context(kubelet(plane, folder, socket))
        await_true("the node is ready", lambda: node_ready(plane), deadline_s=240, log=folder / "kubelet.log")
        yield plane.node
        plane.admin.delete(f"/api/v1/nodes/{plane.node}")


def node_ready(plane: ControlPlane) -> bool:
    try:
        conditions = plane.admin.get(f"/api/v1/nodes/{plane.node}")["status"].get("conditions", [])
    except Refused:
        return False
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


@contextmanager
def containerd(folder: Path) -> Iterator[Path]:
    """Its socket; it has the image under the names that pods and the sandbox ask for."""
    socket = folder / "c.sock"
    (folder / "containerd.toml").write_text(f"""version = 2
root = "{folder}/root"
state = "{folder}/state"
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{folder}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
""")
    cni = folder / "cni"
    cni.mkdir()
    # Pods are on the host's network; kubelet calls a node ready only where there is some other one, too.
    (cni / "10-loopback.conf").write_text('{"cniVersion": "0.3.1", "name": "lo", "type": "loopback"}')
    archive = folder / "image.tar"
    docker_archive(python_layer({"kserve_pod.py": Path(__file__).with_name("kserve_pod.py")}), archive, IMAGE, PAUSE)
    ctr = ("ctr", "--address", str(socket), "--namespace", "k8s.io")
    with running("containerd", ["containerd", "--config", folder / "containerd.toml"], folder):
        log = folder / "containerd.log"
        await_true("containerd answers", lambda: succeeds(*ctr, "version"), deadline_s=120, log=log)
        subprocess.run(["nice", *ctr, "images", "import", str(archive)], check=True, capture_output=True)
        yield socket


def succeeds(*argv: str) -> bool:
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


@contextmanager
def kubelet(plane: ControlPlane, folder: Path, socket: Path) -> Iterator[None]:
    (folder / "kubelet.yaml").write_text(f"""apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: {plane.node}
port: 10250
readOnlyPort: 0
healthzPort: 0
authentication: {{anonymous: {{enabled: true}}, webhook: {{enabled: false}}}}
authorization: {{mode: AlwaysAllow}}
cgroupDriver: cgroupfs
cgroupsPerQOS: true
enforceNodeAllocatable: []
failSwapOn: false
oomScoreAdj: 0
makeIPTablesUtilChains: false
registerNode: true
evictionHard: {{memory.available: "100Mi"}}
nodeStatusUpdateFrequency: 4s
maxOpenFiles: 20000
resolvConf: ""
volumePluginDir: {folder}/plugins
""")
    argv = [
        kubernetes_folder() / "kubelet",
        f"--config={folder}/kubelet.yaml",
        f"--kubeconfig={plane.kubeconfig('node')}",
        f"--hostname-override={plane.node}",
        f"--root-dir={folder}/kubelet",
        "--container-runtime=remote",
        f"--container-runtime-endpoint=unix://{socket}",
    ]
    # Else it asks a cloud for credentials when it starts.
    with running("kubelet", argv, folder, AWS_EC2_METADATA_DISABLED="true"):
        yield


@contextmanager
def sysctls_restored() -> Iterator[None]:
    """Kubelet sets some of the kernel's."""
    before = {name: Path("/proc/sys", name).read_text() for name in SYSCTLS}
    try:
        yield
    finally:
        for name, value in before.items():
            if Path("/proc/sys", name).read_text() != value:
                Path("/proc/sys", name).write_text(value)


@contextmanager
def ended_in_order() -> Iterator[None]:
    """Whoever terminates the tests gets the machine back as it was, too."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def unmount_below(folder: Path) -> None:
    """Deepest first."""
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for point in sorted((one for one in mounted if one.startswith(f"{folder}/")), key=len, reverse=True):
        subprocess.run(["umount", "--lazy", point], check=False, capture_output=True)


def remove_cgroups() -> None:
    """The empty ones that kubelet made, in every hierarchy, deepest first."""
    for top in [*CGROUPS.glob("*/kubepods"), CGROUPS / "kubepods"]:
        for folder, _, _ in os.walk(top, topdown=False):
            with suppress(OSError):
                Path(folder).rmdir()
