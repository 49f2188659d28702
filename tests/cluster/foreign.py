"""A cluster that somebody else runs, by its kubeconfig: only what needs no node of our own making is tried there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.cluster.rest import Rest

KUBECONFIG_VARIABLE = "SERVETUNE_TEST_KUBECONFIG"


class Cluster(Protocol):
    """What a test may ask of any cluster; `admin` may do everything in namespaces that it makes."""

    admin: Rest

    def kubeconfig(self) -> Path: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignCluster:
    """The file's current context. Nothing outside namespaces of the tests' own is ever written."""

    file: Path
    admin: Rest

    def kubeconfig(self) -> Path:
        return self.file


def given_kubeconfig() -> Path | None:
    """The file whose cluster the tests are to use; None: they start one."""
    name = os.environ.get(KUBECONFIG_VARIABLE, "")
    return Path(name) if name else None


def foreign_cluster(file: Path) -> ForeignCluster:
    """Raises kubernetes.config.ConfigException: the file names no cluster."""
    from kubernetes import client, config

    settings = client.Configuration()
    config.load_kube_config(config_file=str(file), client_configuration=settings)
    token = settings.auth_settings().get("BearerToken", {}).get("value", "")
    admin = Rest(
        host=settings.host,
        authority=Path(settings.ssl_ca_cert) if settings.ssl_ca_cert else None,
        token=token.removeprefix("Bearer "),
        certificate=(settings.cert_file, settings.key_file) if settings.cert_file else None,
    )
    return ForeignCluster(file=file, admin=admin)
