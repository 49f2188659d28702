"""Which level of the Pod Security Standards a pod needs.

Source: "Pod Security Standards" and "Pod Security Admission" in the Kubernetes documentation, v1.25 and later.
"""

from __future__ import annotations

from collections.abc import Iterator

from tuner.manifests.plain import PlainObject, object_at, objects_at, text_at, value_at

LEVELS = ("privileged", "baseline", "restricted")
"""From the one that admits everything to the strictest."""
ENFORCED_LABEL = "pod-security.kubernetes.io/enforce"
FIRST_MINOR = 23
"""The admission is on by default since Kubernetes 1.23."""
_HARMLESS = frozenset(
    {
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    }
)
_VOLUMES = ("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected")


def beyond(level: str, pod_spec: PlainObject) -> tuple[str, ...]:
    """What in the pod a namespace of this level does not admit, by name; nothing: it admits the pod."""
    if level not in LEVELS or level == "privileged":
        return ()
    return (*_beyond_baseline(pod_spec), *(_beyond_restricted(pod_spec) if level == "restricted" else ()))


def _containers(pod_spec: PlainObject) -> tuple[PlainObject, ...]:
    return objects_at(pod_spec, "initContainers") + objects_at(pod_spec, "containers")


def _beyond_baseline(pod_spec: PlainObject) -> Iterator[str]:
    yield from (name for name in ("hostNetwork", "hostPID", "hostIPC") if pod_spec.get(name) is True)
    yield from (
        f"volume {text_at(one, 'name')} of the host" for one in objects_at(pod_spec, "volumes") if "hostPath" in one
    )
    for one in _containers(pod_spec):
        name, security = text_at(one, "name"), object_at(one, "securityContext")
        if security.get("privileged") is True:
            yield f"container {name} is privileged"
        if any(port.get("hostPort") for port in objects_at(one, "ports")):
            yield f"container {name} has a hostPort"
        added = value_at(security, "capabilities", "add")
        if isinstance(added, list | tuple) and not _HARMLESS.issuperset(map(str, added)):
            yield f"container {name} adds capabilities"


def _beyond_restricted(pod_spec: PlainObject) -> Iterator[str]:
    of_pod = object_at(pod_spec, "securityContext")
    yield from (
        f"volume {text_at(one, 'name')} of a kind that is not allowed"
        for one in objects_at(pod_spec, "volumes")
        if not any(kind in one for kind in _VOLUMES) and "hostPath" not in one
    )
    for one in _containers(pod_spec):
        name, security = text_at(one, "name"), object_at(one, "securityContext")
        whole = {**of_pod, **security}
        if whole.get("runAsNonRoot") is not True or whole.get("runAsUser") == 0:
            yield f"container {name} may run as root"
        if security.get("allowPrivilegeEscalation") is not False:
            yield f"container {name} allows privilege escalation"
        dropped = value_at(security, "capabilities", "drop")
        if not isinstance(dropped, list | tuple) or "ALL" not in dropped:
            yield f"container {name} keeps capabilities"
        if text_at(whole, "seccompProfile", "type") not in {"RuntimeDefault", "Localhost"}:
            yield f"container {name} has no seccomp profile"
