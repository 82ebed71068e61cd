"""Requests of a load: rows to bodies as they go over the wire."""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

from serving import client as client_lib
from serving import client_columns
from serving import client_rest
from serving import client_specs
from serving import load_generator

PREDICT = "/tensorflow.serving.PredictionService/Predict"
_LIST_WIDTH = 4
_IDS = 10_000


def random_columns(
    signature: client_specs.ClientSignature, rows: int, seed: int = 0
) -> dict[str, list[Any]]:
    """Rows that a signature takes, of values drawn at random.

    Ids are drawn below 10,000 with small ones more often, strings are such
    numbers, lists have up to 4 items: what a server does with them costs what
    real rows cost, but for caches, so give real rows where you have some.

    Args:
        signature: What the model takes.
        rows: How many.
        seed: Of the draws.

    Raises:
        ValueError: For an input that is neither a scalar nor a list a row.

    Example:
    >>> age = client_specs.ClientTensorSpec("int64", (None,))
    >>> signature = client_specs.ClientSignature({"age": age}, {}, "")
    >>> len(random_columns(signature, 3)["age"])
    3
    """
    generator = np.random.default_rng(seed)
    columns: dict[str, list[Any]] = {}
    for name, spec in sorted(signature.columns.items()):
        if name in signature.list_columns:
            sizes = generator.integers(0, _LIST_WIDTH + 1, rows)
            columns[name] = [_draw(generator, spec, size) for size in sizes]
        elif spec.rank == 1:
            columns[name] = _draw(generator, spec, rows)
        else:
            raise ValueError(
                f"Input `{name}` takes {spec}, for which no rows are drawn. "
                "Give rows."
            )
    return columns


def make_target(
    url: str,
    model: str,
    columns: Mapping[str, Sequence[Any]],
    batch_size: int,
    *,
    version: int | None = None,
    label: str | None = None,
    signature: str = "serving_default",
    connections: int = 1,
    timeout_seconds: float = 10.0,
    tls: client_specs.ClientTls | None = None,
) -> load_generator.Target:
    """Makes the bodies of Predict requests.

    Args:
        url: As for `serving.Client`.
        model: The model's name.
        columns: Rows, as for `Client.predict`; each request holds the next
            `batch_size` of them, what is left over is not sent.
        batch_size: Rows a request.
        version: A version, or None.
        label: The label of a version, or None.
        signature: The signature to ask.
        connections: Connections over which requests are spread.
        timeout_seconds: For one request.
        tls: Certificate files, for grpcs and https.

    Raises:
        ValueError: If there are fewer rows than one request takes, or
            columns that the signature does not take.
        PredictionError: If the model's metadata cannot be had.
    """
    with client_lib.Client(
        url,
        model,
        version=version,
        label=label,
        signature=signature,
        timeout_seconds=timeout_seconds,
        tls=tls,
    ) as client:
        found = client.signature()
    count = min(map(len, columns.values()), default=0)
    if not 1 <= batch_size <= count:
        raise ValueError(
            "`batch_size` must be positive and at most the number of rows. "
            f"Received: batch_size={batch_size}, {count} rows."
        )
    batches = [
        client_columns.encode(
            {k: v[at : at + batch_size] for k, v in columns.items()}, found
        )
        for at in range(0, count - batch_size + 1, batch_size)
    ]
    scheme, address = client_lib.address_of(url)
    where = (model, version, label, None)
    if scheme in ("http", "https"):
        rest = client_rest.RestTransport(url, *where)
        method = f"{rest.path}:predict"
        bodies = [rest.predict_body(signature, batch) for batch in batches]
    else:
        # REST does without TensorFlow.
        from serving import client_grpc

        transport = client_grpc.GrpcTransport(address, *where)
        method = PREDICT
        bodies = [
            transport.predict_request(
                signature, found, batch
            ).SerializeToString()
            for batch in batches
        ]
        transport.close()
    return load_generator.Target(
        url, method, bodies, batch_size, connections, timeout_seconds, tls
    )


def _draw(
    generator: np.random.Generator,
    spec: client_specs.ClientTensorSpec,
    count: int,
) -> list[Any]:
    kind = spec.numpy_dtype.kind
    if kind == "f":
        values: list[Any] = generator.standard_normal(count).tolist()
        return values
    if kind == "b":
        return (generator.random(count) < 0.5).tolist()
    # Log-uniform: frequency falls as 1 / rank.
    most = min(_IDS, np.iinfo(spec.numpy_dtype).max) if kind in "iu" else _IDS
    ids = np.exp(generator.uniform(0.0, np.log(most), count)).astype(int)
    if spec.dtype == "string":
        return [str(number) for number in ids.tolist()]
    return ids.tolist()
