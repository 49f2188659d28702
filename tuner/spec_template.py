"""A study file to start from."""

from __future__ import annotations

from importlib import resources


def study_template() -> str:
    """A commented study file that loads once `model.onnx` and `prices.csv` lie beside it."""
    return resources.files("tuner").joinpath("data", "study.yaml").read_text(encoding="utf-8")
