"""Kubernetes objects as text that `kubectl apply -f -` takes."""

from __future__ import annotations

from collections.abc import Iterable

from tuner.manifests.plain import PlainObject
from tuner.yaml_text import to_yaml


def kubectl_text(objects: Iterable[PlainObject]) -> str:
    """One YAML document an object, in their order."""
    return "".join(f"---\n{to_yaml(one)}" for one in objects)
