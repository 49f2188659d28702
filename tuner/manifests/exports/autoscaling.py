"""Autoscalers for a deployable: the HorizontalPodAutoscaler (autoscaling/v2) and KEDA's ScaledObject (v1alpha1).

Both aim at a request rate for each replica: what was proven, less the headroom. Triton counts its requests in
nv_inference_request_success; a queue's length or a GPU's utilisation say less about the SLO.
"""

from __future__ import annotations

import json
import math

from tuner.domain.deployable import Deployable
from tuner.domain.errors import UsageError
from tuner.domain.scaling import ScalingPlan
from tuner.manifests.exports.place import ExportPlace, needed, object_name
from tuner.manifests.exports.production import metadata_of
from tuner.manifests.exports.secrets import refuse_secret_address
from tuner.manifests.plain import Plain, PlainObject

RATE_WINDOW = "2m"
POLLING_S = 15
KEDA_FAILURES = 3


def scaler_notes(plan: ScalingPlan) -> tuple[str, ...]:
    """What whoever applies a scaler must know."""
    owner = "leave spec.replicas out of the Deployment's own file, or each apply undoes what the scaler did"
    if plan.least == plan.most:
        fixed = f"at {plan.least} replicas at least and at most nothing is scaled: --min-replicas and --max-replicas"
        return (*plan.notes, fixed, owner)
    return (*plan.notes, owner)


def hpa_object(of: Deployable, place: ExportPlace, plan: ScalingPlan) -> PlainObject:
    """On a metric of the pods, which an adapter (prometheus-adapter) has to serve under the stated name."""
    name = object_name(place, of.model)
    metric: dict[str, Plain] = {
        "type": "Pods",
        "pods": {
            "metric": {"name": place.rate_metric, "selector": {"matchLabels": {"model": of.model.name}}},
            "target": {"type": "AverageValue", "averageValue": rate_quantity(plan.replica_rps)},
        },
    }
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata_of(of, place, name),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": plan.least,
            "maxReplicas": plan.most,
            "metrics": [metric],
            "behavior": _behavior(plan),
        },
    }


def keda_object(of: Deployable, place: ExportPlace, plan: ScalingPlan) -> PlainObject:
    """On Triton's own counter in Prometheus. Without an answer from there all replicas run.

    Raises UsageError where the address of Prometheus is not stated, or holds a password.
    """
    name = object_name(place, of.model)
    server = needed(place.prometheus, "--prometheus URL", "where Prometheus is")
    refuse_secret_address(server)
    if not server.startswith(("http://", "https://")):
        raise UsageError(f"{server!r} is no address of a Prometheus", hint="http://HOST:PORT")
    trigger: dict[str, Plain] = {
        "type": "prometheus",
        "metricType": "AverageValue",
        "metadata": {
            "serverAddress": server,
            "query": _query(of, place, name),
            "threshold": f"{math.ceil(plan.replica_rps * 1000) / 1000:.10g}",
        },
    }
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": metadata_of(of, place, name),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "pollingInterval": POLLING_S,
            "minReplicaCount": plan.least,
            "maxReplicaCount": plan.most,
            "fallback": {"failureThreshold": KEDA_FAILURES, "replicas": plan.most},
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": _behavior(plan)}},
            "triggers": [trigger],
        },
    }


def rate_quantity(rate_rps: float) -> str:
    """Requests per second as a Kubernetes quantity, rounded up to a thousandth."""
    milli = math.ceil(rate_rps * 1000 - 1e-6)
    return str(milli // 1000) if milli % 1000 == 0 else f"{milli}m"


def _query(of: Deployable, place: ExportPlace, name: str) -> str:
    labels = [f"model={json.dumps(of.model.name)}", f'pod=~"{name}-.*"']
    if place.namespace:
        labels.append(f"namespace={json.dumps(place.namespace)}")
    return f"sum(rate({place.rate_metric}{{{','.join(labels)}}}[{RATE_WINDOW}]))"


def _behavior(plan: ScalingPlan) -> dict[str, Plain]:
    """Up at once, but no faster than replicas come; down when a replica was idle for longer than it takes to start."""
    step = max(1, plan.most - plan.least)
    return {
        "scaleUp": {
            "stabilizationWindowSeconds": 0,
            "policies": [{"type": "Pods", "value": step, "periodSeconds": plan.period_s}],
        },
        "scaleDown": {"stabilizationWindowSeconds": plan.calm_s},
    }
