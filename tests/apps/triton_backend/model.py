"""Stands in for Triton's ONNX backend, which comes in NVIDIA's container alone: onnxruntime's Python package.

The server has read config.pbtxt, put requests together and chosen the model's version before it calls this.
"""

import json
from pathlib import Path

import onnxruntime
import triton_python_backend_utils as triton


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        model = Path(args["model_repository"], args["model_version"], config["default_model_filename"])
        self.session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        self.inputs = [value["name"] for value in config["input"]]
        # As the ONNX backend does: what the config names has to be there.
        assert self.inputs == [value.name for value in self.session.get_inputs()]
        assert {value["name"] for value in config["output"]} <= {value.name for value in self.session.get_outputs()}

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        names = request.requested_output_names()
        given = {name: triton.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs}
        values = self.session.run(names, given)
        return triton.InferenceResponse([triton.Tensor(*pair) for pair in zip(names, values, strict=True)])
