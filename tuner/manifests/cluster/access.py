"""What the controller may do in a cluster: one Role in the study's namespace, exactly as wide as the runner needs.

`RIGHTS` is the one list: the Role is made of it, and `doctor` asks the cluster about each of its entries.
"""

from __future__ import annotations

from dataclasses import dataclass

from tuner.domain.cluster import ClusterOptions
from tuner.manifests.cluster.naming import MANAGED_BY, MANAGER
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
_FORWARD = Right("", "pods/portforward", ("create", "get"), "load and readings through the API server")
NODE_RIGHT = Right("", "nodes", ("list",), "whether any node could ever hold a trial")
ROOM_RIGHT = Right("", "pods", ("list",), "how many trials fit beside what runs in other namespaces")


def rights(options: ClusterOptions) -> tuple[Right, ...]:
    """Everything the runner does under these options."""
    network = () if options.network == "host" else (_POD_NETWORK,)
    claims = (_CLAIMS,) if options.sharing.scheme.startswith("dra") else ()
    forward = (_FORWARD,) if options.load.sent_from == "port_forward" else ()
    return (*RIGHTS, *network, *claims, *forward)


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
        {"apiVersion": api, "kind": "ClusterRole", "metadata": metadata, "rules": [NODE_RIGHT.rule, ROOM_RIGHT.rule]},
        {
            "apiVersion": api,
            "kind": "ClusterRoleBinding",
            "metadata": metadata,
            "roleRef": reference,
            "subjects": [subject],
        },
    )
