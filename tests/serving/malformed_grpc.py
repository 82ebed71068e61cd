"""Requests over gRPC that no server should answer, and what it says of them."""

import dataclasses
import random
from collections.abc import Callable

import grpc
import tensorflow as tf
from tensorflow_serving.apis import classification_pb2
from tensorflow_serving.apis import get_model_metadata_pb2
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.apis import inference_pb2
from tensorflow_serving.apis import model_management_pb2
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import regression_pb2

Code = grpc.StatusCode
INVALID = Code.INVALID_ARGUMENT
PREDICTION = "/tensorflow.serving.PredictionService/"
MODEL = "/tensorflow.serving.ModelService/"
NAMES = ("../../etc/passwd", "a/../b", "%2e%2e", "\0", "ö" * 40_000, "model ")


@dataclasses.dataclass(frozen=True)
class Case:
    """A request, the codes allowed, and the words its message must have."""

    kind: str
    method: str
    body: bytes
    codes: tuple[grpc.StatusCode, ...] = (INVALID,)
    words: tuple[str, ...] = ()


class Malformed:
    """Draws requests; `good` is a Predict request, of scalars and a list."""

    def __init__(self, good: predict_pb2.PredictRequest, seed: int) -> None:
        self._good = good
        self._random = random.Random(seed)

    def draw(self) -> Case:
        """One of them."""
        kind = self._random.choice(KINDS)
        case: Case = kind(self)
        return dataclasses.replace(case, kind=kind.__name__)

    def _predict(
        self,
        request: predict_pb2.PredictRequest,
        *words: str,
        codes: tuple[grpc.StatusCode, ...] = (INVALID,),
    ) -> Case:
        body = request.SerializeToString()
        return Case("", PREDICTION + "Predict", body, codes, words)

    def _one(self) -> tuple[predict_pb2.PredictRequest, str]:
        request = predict_pb2.PredictRequest()
        request.CopyFrom(self._good)
        return request, self._random.choice(sorted(request.inputs))

    def missing_input(self) -> Case:
        request, name = self._one()
        del request.inputs[name]
        return self._predict(request, name)

    def extra_input(self) -> Case:
        request, name = self._one()
        ghost = f"ghost_{self._random.random()}"
        request.inputs[ghost].CopyFrom(request.inputs[name])
        return self._predict(request, ghost)

    def renamed_input(self) -> Case:
        request, name = self._one()
        request.inputs[name.upper()].CopyFrom(request.inputs[name])
        del request.inputs[name]
        return self._predict(request, name.upper())

    def other_dtype(self) -> Case:
        request, name = self._one()
        proto = request.inputs[name]
        others = [
            tf.bool, tf.int32, tf.float64, tf.uint64, tf.bfloat16, tf.half,
            tf.complex64, tf.qint8, tf.uint8,
        ]  # fmt: skip
        shape = [dim.size for dim in proto.tensor_shape.dim]
        dtype = self._random.choice(others)
        proto.Clear()
        proto.dtype = dtype.as_datatype_enum
        for size in shape:
            proto.tensor_shape.dim.add().size = size
        return self._predict(request, name)

    def no_dtype(self) -> Case:
        request, name = self._one()
        numbers = [0, 20, 21, 101, 107, 999, 2**31 - 1, -1]
        request.inputs[name].dtype = self._random.choice(numbers)
        return self._predict(request, name)

    def values_of_another_field(self) -> Case:
        request, name = self._one()
        proto = request.inputs[name]
        values = [field for field, _ in proto.ListFields()]
        for field in values:
            if field.name.endswith("_val"):
                proto.ClearField(field.name)
        proto.tensor_content = b""
        proto.scomplex_val.extend([1.0, 2.0])
        return self._predict(request, name)

    def other_rank(self) -> Case:
        request, name = self._one()
        dims = request.inputs[name].tensor_shape.dim
        for _ in range(self._random.choice([1, 2, 70])):
            dims.add().size = 1
        return self._predict(request, name)

    def other_batch(self) -> Case:
        request, name = self._one()
        dims = request.inputs[name].tensor_shape.dim
        dims[0].size = self._random.choice([0, 1, dims[0].size + 1])
        if dims[0].size < 2:
            del request.inputs[name].tensor_shape.dim[:]
            request.inputs[name].tensor_shape.dim.add().size = 0
        return self._predict(request, name)

    def gigantic_shape(self) -> Case:
        request, name = self._one()
        proto = request.inputs[name]
        del proto.tensor_shape.dim[:]
        sizes = [1 << 20, 1 << 31, 1 << 62, (1 << 63) - 1, 0]
        for _ in range(self._random.randint(1, 4)):
            proto.tensor_shape.dim.add().size = self._random.choice(sizes)
        proto.tensor_shape.dim.add().size = 1 << 40
        return self._predict(request, name)

    def no_shape(self) -> Case:
        request, name = self._one()
        shape = request.inputs[name].tensor_shape
        if self._random.random() < 0.5:
            shape.unknown_rank = True
        else:
            shape.dim[0].size = self._random.choice([-1, -(1 << 63)])
        return self._predict(request, name)

    def content_of_another_length(self) -> Case:
        request, name = self._one()
        proto = request.inputs[name]
        proto.tensor_content = self._random.randbytes(
            self._random.choice([1, 3, 7, 10_001])
        )
        return self._predict(request, name)

    def wrong_lengths(self) -> Case:
        request, _ = self._one()
        proto = request.inputs["tags_length"]
        rows = proto.tensor_shape.dim[0].size
        lengths = [0] * rows
        lengths[self._random.randrange(rows)] = self._random.choice(
            [-1, 4, 1 << 20, 1 << 40, (1 << 63) - 1, -(1 << 63)]
        )
        proto.CopyFrom(tf.make_tensor_proto(lengths, tf.int64))
        return self._predict(request, "tags_length")

    def truncated(self) -> Case:
        body = self._good.SerializeToString()
        # Cut inside a field, whose length is then a lie.
        cut = body[: self._random.randrange(len(body) // 2, len(body) - 1)]
        codes = (INVALID, Code.NOT_FOUND, Code.FAILED_PRECONDITION)
        return Case("", PREDICTION + "Predict", cut, codes)

    def flipped(self) -> Case:
        body = bytearray(self._good.SerializeToString())
        for _ in range(self._random.randint(1, 8)):
            body[self._random.randrange(len(body))] ^= 1 << (
                self._random.randrange(8)
            )
        # Another value of an input is an answer.
        codes = (Code.OK, INVALID, Code.NOT_FOUND, Code.FAILED_PRECONDITION)
        return Case("", PREDICTION + "Predict", bytes(body), codes)

    def noise(self) -> Case:
        body = self._random.randbytes(self._random.choice([1, 9, 300, 60_000]))
        methods = ["Predict", "Classify", "Regress", "MultiInference"]
        method = PREDICTION + self._random.choice(methods)
        if self._random.random() < 0.3:
            method = MODEL + "GetModelStatus"
        return Case("", method, body)

    def no_utf8(self) -> Case:
        # model_spec { name: "\xff\xfe..." }
        name = b"\xff\xfe" + self._random.randbytes(3)
        spec = b"\x0a" + bytes([len(name)]) + name
        body = b"\x0a" + bytes([len(spec)]) + spec
        return Case("", PREDICTION + "Predict", body)

    def nested(self) -> Case:
        inner = b""
        for _ in range(self._random.choice([200, 5_000])):
            # TensorProto.variant_val and VariantTensorDataProto.tensors.
            for tag in (b"\x1a", b"\x7a"):
                inner = tag + _varint(len(inner)) + inner
        entry = b"\x0a\x01x\x12" + _varint(len(inner)) + inner
        body = b"\x12" + _varint(len(entry)) + entry
        return Case("", PREDICTION + "Predict", body)

    def unknown_model(self) -> Case:
        request, _ = self._one()
        request.model_spec.name = self._random.choice(NAMES)
        codes: tuple[grpc.StatusCode, ...] = (Code.NOT_FOUND,)
        words: tuple[str, ...] = (request.model_spec.name[:100],)
        if self._random.random() < 0.2:
            request.model_spec.name, codes, words = "", (INVALID,), ("name",)
        if self._random.random() < 0.2:
            request.ClearField("model_spec")
            codes, words = (INVALID,), ("ModelSpec",)
        return self._predict(request, *words, codes=codes)

    def unknown_version(self) -> Case:
        request, _ = self._one()
        version = self._random.choice([-1, 0, 2, (1 << 63) - 1, -(1 << 63)])
        if self._random.random() < 0.5:
            request.model_spec.version.value = version
            return self._predict(request, str(version), codes=(Code.NOT_FOUND,))
        label = self._random.choice(NAMES)
        request.model_spec.version_label = label
        return self._predict(request, label[:100])

    def unknown_signature(self) -> Case:
        request, _ = self._one()
        name = self._random.choice(NAMES)
        request.model_spec.signature_name = name
        return self._predict(
            request, name[:100], codes=(Code.FAILED_PRECONDITION,)
        )

    def wrong_output_filter(self) -> Case:
        request, _ = self._one()
        names = self._random.choice([["click", "click"], ["absent"], ["\0"]])
        request.output_filter.extend(names)
        return self._predict(request, names[-1])

    def wrong_method(self) -> Case:
        services = [
            "tensorflow.serving.PredictionService/Nope",
            "tensorflow.serving.SessionService/SessionRun",
            "../../etc/passwd",
            "tensorflow.serving.PredictionService",
            "",
        ]
        method = "/" + self._random.choice(services)
        return Case("", method, b"\x0a\x00", (Code.UNIMPLEMENTED,))

    def wrong_examples(self) -> Case:
        api, message = self._random.choice(
            [
                ("Classify", classification_pb2.ClassificationRequest),
                ("Regress", regression_pb2.RegressionRequest),
            ]
        )
        request = message()
        request.model_spec.name = self._good.model_spec.name
        signature = f"{api.lower()}_click"
        feature = request.input.example_list.examples.add().features.feature
        words: tuple[str, ...] = ()
        codes: tuple[grpc.StatusCode, ...] = (INVALID,)
        match self._random.randrange(5):
            case 0:
                feature["user"].bytes_list.value.append(b"7")
                words = ("user",)
            case 1:
                feature["price"].float_list.value.extend([1.0, 2.0])
                words = ("price",)
            case 2:
                request.ClearField("input")
                words = ("Input",)
            case 3:
                # Any signature, and the one of the other method.
                signature = "serving_default"
                words = ("signature",)
            case _:
                signature, words = "absent", ("absent",)
                codes = (Code.FAILED_PRECONDITION,)
        request.model_spec.signature_name = signature
        body = request.SerializeToString()
        return Case("", PREDICTION + api, body, codes, words)

    def wrong_tasks(self) -> Case:
        request = inference_pb2.MultiInferenceRequest()
        request.input.example_list.examples.add()
        for _ in range(self._random.randrange(3)):
            task = request.tasks.add()
            task.method_name = self._random.choice(
                ["tensorflow/serving/predict", "", "tensorflow/serving/regress"]
            )
            task.model_spec.name = self._good.model_spec.name
        codes = (INVALID, Code.UNIMPLEMENTED)
        body = request.SerializeToString()
        return Case("", PREDICTION + "MultiInference", body, codes)

    def wrong_metadata(self) -> Case:
        request = get_model_metadata_pb2.GetModelMetadataRequest()
        request.model_spec.name = self._good.model_spec.name
        field = self._random.choice(["", "absent", "../signature_def"])
        request.metadata_field.append(field)
        body = request.SerializeToString()
        return Case("", PREDICTION + "GetModelMetadata", body, words=(field,))

    def wrong_status(self) -> Case:
        request = get_model_status_pb2.GetModelStatusRequest()
        name = self._random.choice(NAMES)
        request.model_spec.name = name
        body = request.SerializeToString()
        return Case(
            "", MODEL + "GetModelStatus", body, (Code.NOT_FOUND,), (name[:100],)
        )

    def wrong_configuration(self) -> Case:
        request = model_management_pb2.ReloadConfigRequest()
        words: tuple[str, ...] = ("model_config_list",)
        if self._random.random() < 0.7:
            model = request.config.model_config_list.config.add()
            model.name = self._random.choice(["a/../b", "", "a:b"])
            model.base_path = "/etc"
            words = (model.name or "name",)
        body = request.SerializeToString()
        return Case("", MODEL + "HandleReloadConfigRequest", body, words=words)


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    made.append(value)
    return bytes(made)


KINDS: list[Callable[[Malformed], Case]] = [
    getattr(Malformed, name)
    for name in vars(Malformed)
    if not name.startswith("_") and name != "draw"
]
