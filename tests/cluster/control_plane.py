"""A real control plane on 127.0.0.1: etcd, API server, controller manager and scheduler, each with its own port."""

from __future__ import annotations

import json
import secrets
import socket
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.binaries import kubernetes_folder
from tests.cluster.processes import await_true, running
from tests.cluster.rest import Refused, Rest

CONTEXT = "servetune-test"
IDENTITIES = {
    "admin": ("admin", "system:masters"),
    "kcm": ("system:kube-controller-manager", ""),
    "sched": ("system:kube-scheduler", ""),
    "node": ("system:node:node0", "system:nodes"),
    "nobody": ("nobody", ""),
}
START_S = 90.0
TTL_GATE = "--feature-gates=TTLAfterFinished=true"


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlane:
    """A running one. `kubeconfig(NAME)` is the file of an identity; `admin` may do everything."""

    folder: Path
    host: str
    admin: Rest

    def kubeconfig(self, identity: str = "admin") -> Path:
        return self.folder / f"{identity}.kubeconfig"


@contextmanager
def control_plane(folder: Path) -> Iterator[ControlPlane]:
    """Ready on entry, gone on exit."""
    make_certificates(folder)
    port, tokens = free_port(), {name: secrets.token_hex(16) for name in IDENTITIES}
    host = f"https://127.0.0.1:{port}"
    write_identities(folder, host, tokens)
    plane = ControlPlane(
        folder=folder, host=host, admin=Rest(host=host, authority=folder / "ca.crt", token=tokens["admin"])
    )
    with ExitStack() as stack:
        etcd = stack.enter_context(etcd_server(folder))
        stack.enter_context(running("apiserver", api_server(folder, port, etcd), folder))
        log = folder / "apiserver.log"
        await_true("the API server is ready", lambda: api_ready(plane.admin), deadline_s=START_S, log=log)
        manager, scheduler = free_port(), free_port()
        stack.enter_context(running("kcm", controller_manager(folder, manager), folder))
        stack.enter_context(running("sched", kube_scheduler(folder, scheduler), folder))
        await_true("accounts are made", lambda: has_accounts(plane.admin), deadline_s=START_S, log=folder / "kcm.log")
        await_true("the scheduler is well", lambda: healthy(scheduler), deadline_s=START_S, log=folder / "sched.log")
        yield plane


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def make_certificates(folder: Path) -> None:
    """An authority, the API server's certificate, and the key pair of service accounts."""

    def openssl(*argv: str) -> None:
        subprocess.run(["openssl", *argv], cwd=folder, check=True, capture_output=True)

    extensions = "subjectAltName=IP:127.0.0.1,IP:10.0.0.1,DNS:localhost,DNS:kubernetes.default.svc\n"
    (folder / "san.cnf").write_text(f"{extensions}extendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n")
    new = ("req", "-newkey", "rsa:2048", "-nodes")
    openssl(*new, "-x509", "-days", "3", "-subj", "/CN=servetune-test-ca", "-keyout", "ca.key", "-out", "ca.crt")
    openssl(*new, "-subj", "/CN=kube-apiserver", "-keyout", "api.key", "-out", "api.csr")
    signed = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "san.cnf", "-days", "3")
    openssl("x509", "-req", "-in", "api.csr", *signed, "-out", "api.crt")
    openssl("genrsa", "-out", "sa.key", "2048")
    openssl("rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub")


def write_identities(folder: Path, host: str, tokens: dict[str, str]) -> None:
    """tokens.csv for the API server, and a kubeconfig each."""
    rows = [f'{tokens[name]},{user},{user},"{group}"' for name, (user, group) in IDENTITIES.items()]
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
def etcd_server(folder: Path) -> Iterator[str]:
    """The address of the clients' side."""
    client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    argv = ["etcd", "--data-dir", folder / "etcd", "--listen-client-urls", client, "--advertise-client-urls", client]
    argv += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"]
    with running("etcd", argv, folder):
        yield client


def api_server(folder: Path, port: int, etcd: str) -> list[str]:
    options = {
        "etcd-servers": etcd,
        "bind-address": "127.0.0.1",
        "advertise-address": "127.0.0.1",
        "secure-port": port,
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


def controller_manager(folder: Path, port: int) -> list[str]:
    config = folder / "kcm.kubeconfig"
    options = {
        **dict.fromkeys(("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"), config),
        "use-service-account-credentials": "true",
        "service-account-private-key-file": folder / "sa.key",
        "root-ca-file": folder / "ca.crt",
        "bind-address": "127.0.0.1",
        "secure-port": port,
        "port": 0,
        "leader-elect": "false",
        "controllers": "*",
        "node-monitor-period": "2s",
        "node-monitor-grace-period": "10s",
        "pod-eviction-timeout": "5s",
    }
    return [str(kubernetes_folder() / "kube-controller-manager"), *(f"--{k}={v}" for k, v in options.items()), TTL_GATE]


def kube_scheduler(folder: Path, port: int) -> list[str]:
    config = folder / "sched.kubeconfig"
    options = {
        **dict.fromkeys(("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"), config),
        "bind-address": "127.0.0.1",
        "secure-port": port,
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


def healthy(port: int) -> bool:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(f"https://127.0.0.1:{port}/healthz", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False
