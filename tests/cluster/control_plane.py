"""A real control plane on a loopback address of its own: etcd, API server, controller manager and scheduler."""

from __future__ import annotations

import json
import os
import secrets
import ssl
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.addresses import loopback_address
from tests.cluster.binaries import kubernetes_folder
from tests.cluster.processes import await_true, running
from tests.cluster.rest import Refused, Rest

CONTEXT = "servetune-test"
IDENTITIES = {
    "admin": ("admin", "system:masters"),
    "kcm": ("system:kube-controller-manager", ""),
    "sched": ("system:kube-scheduler", ""),
    "node": ("system:node:", "system:nodes"),
    "nobody": ("nobody", ""),
}
API_PORT, MANAGER_PORT, SCHEDULER_PORT, ETCD_PORTS = 6443, 10257, 10259, (2379, 2380)
SHARED_MEMORY = Path("/dev/shm")
START_S = 180.0
TTL_GATE = "--feature-gates=TTLAfterFinished=true"


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlane:
    """A running one. `kubeconfig(NAME)` is the file of an identity; `admin` may do everything."""

    folder: Path
    host: str
    admin: Rest
    node: str
    """What the one node is called that the identity `node` may speak for: the loopback address of its kubelet."""

    def kubeconfig(self, identity: str = "admin") -> Path:
        return self.folder / f"{identity}.kubeconfig"


@contextmanager
def control_plane(folder: Path) -> Iterator[ControlPlane]:
    """Ready on entry, gone on exit."""
    # Ports of 127.0.0.1 are everybody's: connections of other programs take them between a look and a start.
    address = loopback_address(secrets.token_hex(8))
    make_certificates(folder, address)
    tokens = {name: secrets.token_hex(16) for name in IDENTITIES}
    host = f"https://{address}:{API_PORT}"
    node = loopback_address(f"node of {address}")
    write_identities(folder, host, tokens, node)
    plane = ControlPlane(
        folder=folder, host=host, node=node, admin=Rest(host=host, authority=folder / "ca.crt", token=tokens["admin"])
    )
    with ExitStack() as stack:
        etcd = stack.enter_context(etcd_server(folder, address))
        stack.enter_context(running("apiserver", api_server(folder, address, etcd), folder))
        log = folder / "apiserver.log"
        await_true("the API server is ready", lambda: api_ready(plane.admin), deadline_s=START_S, log=log)
        stack.enter_context(running("kcm", controller_manager(folder, address), folder))
        stack.enter_context(running("sched", kube_scheduler(folder, address), folder))
        await_true("accounts are made", lambda: has_accounts(plane.admin), deadline_s=START_S, log=folder / "kcm.log")
        await_true("the scheduler is well", lambda: healthy(address), deadline_s=START_S, log=folder / "sched.log")
        yield plane


def make_certificates(folder: Path, address: str) -> None:
    """An authority, the API server's certificate, and the key pair of service accounts."""

    def openssl(*argv: str) -> None:
        subprocess.run(["openssl", *argv], cwd=folder, check=True, capture_output=True)

    extensions = f"subjectAltName=IP:{address},IP:10.0.0.1,DNS:kubernetes.default.svc\n"
    (folder / "san.cnf").write_text(f"{extensions}extendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n")
    new = ("req", "-newkey", "rsa:2048", "-nodes")
    openssl(*new, "-x509", "-days", "3", "-subj", "/CN=servetune-test-ca", "-keyout", "ca.key", "-out", "ca.crt")
    openssl(*new, "-subj", "/CN=kube-apiserver", "-keyout", "api.key", "-out", "api.csr")
    signed = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "san.cnf", "-days", "3")
    openssl("x509", "-req", "-in", "api.csr", *signed, "-out", "api.crt")
    openssl("genrsa", "-out", "sa.key", "2048")
    openssl("rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub")


def write_identities(folder: Path, host: str, tokens: dict[str, str], node: str) -> None:
    """tokens.csv for the API server, and a kubeconfig each."""
    users = {name: f"{user}{node}" if name == "node" else user for name, (user, _) in IDENTITIES.items()}
    rows = [f'{tokens[name]},{users[name]},{users[name]},"{group}"' for name, (_, group) in IDENTITIES.items()]
    (folder / "tokens.csv").write_text("\n".join(rows) + "\n")
    for name, token in tokens.items():
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": CONTEXT,
            "clusters": [
                {"name": CONTEXT, "cluster": {"server": host, "certificate-authority": str(folder / "ca.crt")}}
            ],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": CONTEXT, "context": {"cluster": CONTEXT, "user": name}}],
        }
        (folder / f"{name}.kubeconfig").write_text(json.dumps(config))


@contextmanager
def etcd_server(folder: Path, address: str) -> Iterator[str]:
    """The clients' side. Its data is in memory where that can be: it waits for the disk at every write."""
    client, peer = (f"http://{address}:{port}" for port in ETCD_PORTS)
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else folder) as data:
        argv = ["etcd", "--data-dir", data, "--listen-client-urls", client, "--advertise-client-urls", client]
        argv += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
        with running("etcd", [*argv, "--initial-cluster", f"default={peer}"], folder):
            yield client


def api_server(folder: Path, address: str, etcd: str) -> list[str]:
    options = {
        "etcd-servers": etcd,
        "bind-address": address,
        "advertise-address": address,
        "secure-port": API_PORT,
        "tls-cert-file": folder / "api.crt",
        "tls-private-key-file": folder / "api.key",
        "client-ca-file": folder / "ca.crt",
        "token-auth-file": folder / "tokens.csv",
        "authorization-mode": "Node,RBAC",
        "service-cluster-ip-range": "10.0.0.0/24",
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-signing-key-file": folder / "sa.key",
        "service-account-key-file": folder / "sa.pub",
        "endpoint-reconciler-type": "none",
        "allow-privileged": "true",
        "kubelet-preferred-address-types": "Hostname",
        "shutdown-delay-duration": "0s",
    }
    return [str(kubernetes_folder() / "kube-apiserver"), *(f"--{k}={v}" for k, v in options.items()), TTL_GATE]


def controller_manager(folder: Path, address: str) -> list[str]:
    config = folder / "kcm.kubeconfig"
    options = {
        **dict.fromkeys(("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"), config),
        "use-service-account-credentials": "true",
        "service-account-private-key-file": folder / "sa.key",
        "root-ca-file": folder / "ca.crt",
        "bind-address": address,
        "secure-port": MANAGER_PORT,
        "port": 0,
        "leader-elect": "false",
        "controllers": "*",
        "node-monitor-period": "2s",
        "node-monitor-grace-period": "16s",
        "pod-eviction-timeout": "5s",
    }
    return [str(kubernetes_folder() / "kube-controller-manager"), *(f"--{k}={v}" for k, v in options.items()), TTL_GATE]


def kube_scheduler(folder: Path, address: str) -> list[str]:
    config = folder / "sched.kubeconfig"
    options = {
        **dict.fromkeys(("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"), config),
        "bind-address": address,
        "secure-port": SCHEDULER_PORT,
        "port": 0,
        "leader-elect": "false",
    }
    return [str(kubernetes_folder() / "kube-scheduler"), *(f"--{k}={v}" for k, v in options.items())]


def api_ready(admin: Rest) -> bool:
    try:
        return admin.get("/readyz") == "ok"
    except (OSError, Refused):
        return False


def has_accounts(admin: Rest) -> bool:
    """The controller manager works once every namespace has its account."""
    try:
        return bool(admin.get("/api/v1/namespaces/default/serviceaccounts/default"))
    except Refused:
        return False


def healthy(address: str) -> bool:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(f"https://{address}:{SCHEDULER_PORT}/healthz", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False
