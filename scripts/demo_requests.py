"""Asks a served completejourney model one question by REST, one by gRPC."""

import argparse
import json
import urllib.request

from tfplugin.cli import display

with display.quiet_import():
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2
    from tensorflow_serving.apis import prediction_service_pb2_grpc

#: A household of the log looks at a bottle of soft drink in its store.
PURCHASE = {
    "household_id": 900,
    "product_id": 1095275,
    "store_id": 330,
    "manufacturer_id": 2,
    "product_category": "SOFT DRINKS",
    "product_type": "SOFT DRINKS 12/18&15PK CAN CAR",
    "household_category": "900/SOFT DRINKS",
}
TIMEOUT_SECONDS = 30


def ask_rest(url: str) -> dict[str, float]:
    """Asks in row form, as `curl -d` would."""
    body = json.dumps({"instances": [PURCHASE]}).encode()
    print(f"REST  POST {url}\n      {body.decode()}")
    request = urllib.request.Request(url, body)
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
        return json.load(response)["predictions"][0]


def ask_grpc(address: str, model_name: str) -> dict[str, float]:
    """Asks with the client stubs of tensorflow-serving-api."""
    print(f"gRPC  Predict {address} model {model_name}, the same purchase")
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model_name
    for name, value in PURCHASE.items():
        dtype = tf.int64 if isinstance(value, int) else tf.string
        request.inputs[name].CopyFrom(
            tf.make_tensor_proto([value], dtype=dtype)
        )
    with grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        response = stub.Predict(request, timeout=TIMEOUT_SECONDS)
    return {
        name: float(tf.make_ndarray(tensor)[0])
        for name, tensor in response.outputs.items()
    }


def main() -> None:
    """Prints both answers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rest-url", required=True)
    parser.add_argument("--grpc-address", required=True)
    arguments = parser.parse_args()
    model_name = arguments.rest_url.split("/models/")[1].split(":")[0]
    show(ask_rest(arguments.rest_url))
    show(ask_grpc(arguments.grpc_address, model_name))


def show(answer: dict[str, float]) -> None:
    """Prints the probabilities of one answer."""
    for objective, probability in sorted(answer.items()):
        print(f"      P({objective}) = {probability:.4f}")


if __name__ == "__main__":
    main()
