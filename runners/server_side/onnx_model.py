"""The model.py of a served ONNX file: runs inside Triton's Python backend, in the server environment.

One call of `execute` is one batch of the dynamic batcher: the requests are joined, run once, and split again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """The interface that Triton's Python backend asks for, names included."""

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config.get("parameters", {}).items()}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(parameters.get("intra_op_threads", "1"))
        options.inter_op_num_threads = 1
        # A spinning thread burns the CPU quota that the next request needs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = Path(args["model_repository"], args["model_version"], parameters.get("model_file", "model.onnx"))
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.inputs = [tensor["name"] for tensor in config["input"]]
        self.outputs = [tensor["name"] for tensor in config["output"]]
        self.batched = config["max_batch_size"] > 0

    def execute(self, requests: list[Any]) -> list[Any]:
        if not self.batched:
            return [self._respond(self._run([self._arrays(request)])) for request in requests]
        arrays = [self._arrays(request) for request in requests]
        results = self._run(arrays)
        ends = np.cumsum([request[0].shape[0] for request in arrays])[:-1]
        parts = zip(*(np.split(result, ends) for result in results), strict=True)
        return [self._respond(part) for part in parts]

    def _arrays(self, request: Any) -> list[Any]:
        return [pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs]

    def _run(self, arrays: list[list[Any]]) -> list[Any]:
        columns = zip(*arrays, strict=True)
        joined = [column[0] if len(column) == 1 else np.concatenate(column) for column in columns]
        return list(self.session.run(self.outputs, dict(zip(self.inputs, joined, strict=True))))

    def _respond(self, values: Any) -> Any:
        tensors = [pb_utils.Tensor(name, value) for name, value in zip(self.outputs, values, strict=True)]
        return pb_utils.InferenceResponse(output_tensors=tensors)
