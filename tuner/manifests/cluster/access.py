"""What the controller may do in a cluster: one Role in the study's namespace, exactly as wide as the runner needs.

`RIGHTS` is the one list: the Role is made of it, and `doctor` asks the cluster about each of its entries.
"""

from __future__ import annotations

from dataclasses import dataclass

from tuner.domain.cluster import ClusterOptions
from tuner.manifests.cluster.naming import MANAGED_BY, MANAGER, controller_labels, study_labels, study_object_name
from tuner.manifests.cluster.quantities import cpu_quantity, memory_quantity
from tuner.manifests.cluster.server_pod import RESTRICTED_CONTAINER, UNDISTURBED
from tuner.manifests.plain import Plain, PlainObject

ROLE_NAME = "servetune"
APPLY_ROLE = "who may applies the Role below"


@dataclass(frozen=True, slots=True)
class Right:
    """Verbs on one kind of resource, and what the runner does with them."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    reason: str

    @property
    def rule(self) -> dict[str, Plain]:
        return {"apiGroups": [self.group], "resources": [self.resource], "verbs": list(self.verbs)}


RIGHTS = (
    Right("", "configmaps", ("create", "get", "list", "delete"), "the owner of a trial, its config.pbtxt"),
    Right("", "services", ("create", "get", "list"), "how load finds the server"),
    Right("apps", "deployments", ("create", "get", "list"), "the server of a trial"),
    Right("batch", "jobs", ("create", "get", "list", "delete"), "the load of a trial"),
    Right("", "pods", ("list", "watch"), "what became of a trial"),
    Right("", "pods/log", ("get",), "results of the load, reasons of a crash"),
    Right("", "events", ("list",), "why a pod waits"),
    Right("", "resourcequotas", ("list",), "how many trials fit at once"),
    Right("coordination.k8s.io", "leases", ("create", "get", "list", "update", "delete"), "one coordinator a study"),
)
"""What is owned goes with its owner: the cluster removes it. `get` is for a creation whose answer was lost."""
_POD_NETWORK = Right("networking.k8s.io", "networkpolicies", ("create", "get"), "no load from elsewhere")
_CLAIMS = Right("resource.k8s.io", "resourceclaimtemplates", ("create", "get"), "a share of a GPU by DRA")
NODE_RIGHT = Right("", "nodes", ("list",), "whether any node could ever hold a trial")


def rights(options: ClusterOptions) -> tuple[Right, ...]:
    """Everything the runner does under these options."""
    network = () if options.network == "host" else (_POD_NETWORK,)
    claims = (_CLAIMS,) if options.sharing.scheme.startswith("dra") else ()
    return (*RIGHTS, *network, *claims)


def access_objects(options: ClusterOptions, *, account: str = ROLE_NAME) -> tuple[PlainObject, ...]:
    """ServiceAccount, Role and RoleBinding for the controller, to be applied by who may."""
    metadata: PlainObject = {
        "name": account,
        "namespace": options.namespace,
        "labels": {MANAGED_BY: MANAGER},
    }
    subject: PlainObject = {"kind": "ServiceAccount", "name": account, "namespace": options.namespace}
    reference: PlainObject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account}
    return (
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": metadata,
            "automountServiceAccountToken": False,
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": metadata,
            "rules": [right.rule for right in rights(options)],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": reference,
            "subjects": [subject],
        },
    )


def node_access_objects(options: ClusterOptions, *, account: str = ROLE_NAME) -> tuple[PlainObject, ...]:
    """Optional, for the whole cluster: with it, a trial that fits no node is known at once."""
    name = f"{account}-nodes"
    metadata: PlainObject = {"name": name, "labels": {MANAGED_BY: MANAGER}}
    subject: PlainObject = {"kind": "ServiceAccount", "name": account, "namespace": options.namespace}
    reference: PlainObject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    api = "rbac.authorization.k8s.io/v1"
    return (
        {"apiVersion": api, "kind": "ClusterRole", "metadata": metadata, "rules": [NODE_RIGHT.rule]},
        {
            "apiVersion": api,
            "kind": "ClusterRoleBinding",
            "metadata": metadata,
            "roleRef": reference,
            "subjects": [subject],
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedController:
    """`servetune tune` as a Job. `files` are the study file (study.yaml) and what lies beside it, by name;
    `storage_secret` is a Secret whose key `url` is the storage's address.
    """

    study: str
    image: str
    files: tuple[tuple[str, str], ...]
    storage_secret: str
    account: str = ROLE_NAME
    cpu_cores: float = 1.0
    memory_gib: float = 2.0


def controller_objects(options: ClusterOptions, controller: HostedController) -> tuple[PlainObject, ...]:
    """The study's files and the Job. It may be killed at any time: a new pod goes on from the history. Raises
    UsageError.
    """
    metadata: dict[str, Plain] = {
        "name": study_object_name(controller.study, "controller"),
        "namespace": options.namespace,
        "labels": study_labels(controller.study),
    }
    files: PlainObject = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": dict(controller.files),
    }
    job: PlainObject = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            # Each start replays the history, and goes on; the study's own budget ends it.
            "backoffLimit": 20,
            "podFailurePolicy": {"rules": [_ended_for_good()]},
            "template": {
                "metadata": {"labels": controller_labels(controller.study), "annotations": UNDISTURBED},
                "spec": _controller_pod(options, controller),
            },
        },
    }
    return (files, job)


def _ended_for_good() -> PlainObject:
    """Exit codes that say something of the study; the others (7: infrastructure, 130 and above: killed) try again."""
    exit_codes: PlainObject = {"containerName": "controller", "operator": "In", "values": [1, 2, 3, 4, 5, 6, 8, 9]}
    # Kubernetes 1.25 wants the other list as well, if empty.
    return {"action": "FailJob", "onExitCodes": exit_codes, "onPodConditions": []}


def _controller_pod(options: ClusterOptions, controller: HostedController) -> dict[str, Plain]:
    amounts: PlainObject = {
        "cpu": cpu_quantity(controller.cpu_cores),
        "memory": memory_quantity(controller.memory_gib),
    }
    storage: PlainObject = {"secretKeyRef": {"name": controller.storage_secret, "key": "url"}}
    container: PlainObject = {
        "name": "controller",
        "image": controller.image,
        "command": ["servetune", "tune", "/study/study.yaml"],
        "env": [{"name": "SERVETUNE_STORAGE", "valueFrom": storage}],
        "resources": {"limits": amounts, "requests": amounts},
        "securityContext": RESTRICTED_CONTAINER,
        "volumeMounts": [{"name": "study", "mountPath": "/study", "readOnly": True}],
    }
    return {
        "serviceAccountName": controller.account,
        # The only pod that talks to the API.
        "automountServiceAccountToken": True,
        "restartPolicy": "Never",
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": options.run_as_user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "study", "configMap": {"name": study_object_name(controller.study, "controller")}}],
    }
