"""`python describe_onnx.py FILE`: the inputs and outputs of an ONNX file as JSON; run in the server environment."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import onnxruntime


def describe(path: Path) -> dict[str, Any]:
    """Names, ONNX element types and shapes; a free dimension is null."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return {"inputs": _tensors(session.get_inputs()), "outputs": _tensors(session.get_outputs())}


def _tensors(arguments: Any) -> list[dict[str, Any]]:
    return [
        {"name": a.name, "type": a.type, "shape": [size if isinstance(size, int) else None for size in a.shape]}
        for a in arguments
    ]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(describe(Path(sys.argv[1]))))
