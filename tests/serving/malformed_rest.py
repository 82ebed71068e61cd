"""Requests over REST that no server should answer, and what it says of them."""

import copy
import dataclasses
import gzip
import json
import random
from collections.abc import Callable
from typing import Any

_PATHS = (
    "/v1/models/../../etc/passwd",
    "/v1/models/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "/v1/models/model/versions/-1",
    "/v1/models/model/versions/" + "9" * 30,
    "/v1/models/model/labels/..%2f..",
    "/v1/models/%00",
    "/v1/models/%ff%fe",
    "/v1/models/",
    "/v1/models/model/1",
    "/v1/",
    "/",
    "/monitoring/../v1/models/../x",
    "/monitoring/prometheus/metrics/../../x",
    "//v1//models//model",
    "/v1/models/model/metadata/x",
    "/v1/models/model%3apredict",
    "/v1/models/" + "m" * 5_000,
    "*",
)


@dataclasses.dataclass(frozen=True)
class Case:
    """A request, and the words its message must have."""

    kind: str
    method: str
    path: str
    body: bytes = b""
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    words: tuple[str, ...] = ()
    may_succeed: bool = False


class Malformed:
    """Draws requests; `columns` are the inputs of a good one."""

    def __init__(self, columns: dict[str, list[Any]], seed: int) -> None:
        self._columns = columns
        self._random = random.Random(seed)

    def draw(self) -> Case:
        """One of them."""
        kind = self._random.choice(KINDS)
        case: Case = kind(self)
        return dataclasses.replace(case, kind=kind.__name__)

    def _one(self) -> tuple[dict[str, Any], str]:
        columns = copy.deepcopy(self._columns)
        return columns, self._random.choice(sorted(columns))

    def _predict(self, columns: Any, *words: str) -> Case:
        return self._body(json.dumps({"inputs": columns}), *words)

    def _body(self, body: str | bytes, *words: str) -> Case:
        if isinstance(body, str):
            body = body.encode("utf-8", "surrogatepass")
        path = "/v1/models/model:predict"
        return Case("", "POST", path, body, words=words)

    def missing_input(self) -> Case:
        columns, name = self._one()
        del columns[name]
        return self._predict(columns, name)

    def extra_input(self) -> Case:
        columns, name = self._one()
        columns[name + "_x"] = columns[name]
        return self._predict(columns, name + "_x")

    def wrong_values(self) -> Case:
        columns, name = self._one()
        wrong: list[Any] = [
            None, True, {"b64": "%%%"}, {"b65": "YQ=="}, {}, [[]], 10**400,
            -(10**30), [1, [2]], 1e308,
        ]  # fmt: skip
        values = columns[name]
        values[self._random.randrange(len(values))] = self._random.choice(wrong)
        return self._predict(columns, name)

    def wrong_kind(self) -> Case:
        columns, name = self._one()
        other: Any = "x"
        if isinstance(columns[name][0], str | list):
            other = 1.5
        columns[name] = [other] * len(columns[name])
        return self._predict(columns, name)

    def half_a_character(self) -> Case:
        columns, _ = self._one()
        columns["city"][0] = "\ud800"
        return self._predict(columns, "city")

    def other_batch(self) -> Case:
        columns, name = self._one()
        columns[name] = columns[name][:-1]
        return self._predict(columns, name)

    def ragged(self) -> Case:
        columns, _ = self._one()
        columns["tags"][0] = columns["tags"][0] + ["x"]
        return self._predict(columns, "tags")

    def wrong_lengths(self) -> Case:
        columns, _ = self._one()
        columns["tags_length"][0] = self._random.choice(
            [-1, 99, 2**63 - 1, -(2**63)]
        )
        return self._predict(columns, "tags_length")

    def wrong_instances(self) -> Case:
        columns, name = self._one()
        rows = [
            dict(zip(columns, values, strict=True))
            for values in zip(*columns.values(), strict=True)
        ]
        row = self._random.randrange(len(rows))
        del rows[row][name]
        return self._body(json.dumps({"instances": rows}), name)

    def wrong_document(self) -> Case:
        documents = [
            "", "null", "[]", "1", '"x"', "{", "{}", '{"inputs": 1}',
            '{"inputs": {}, "instances": []}', '{"instances": []}',
            '{"instances": {}}', '{"instances": [1]}', '{"instances": [[]]}',
            '{"inputs": Infinity}', '{"inputs": -Infinity}',
            '{"signature_name": 7, "inputs": {}}', '{"inputs": 01}',
            '{"signature_name": "\\u0000", "inputs": {}}', "\ufeff{}",
            '{"signature_name": "absent", "inputs": {}}', "\ud800",
            '{"inputs": ' + "9" * 5_000 + "}", '{"inputs": {"user": [1e999]}}',
        ]  # fmt: skip
        return self._body(self._random.choice(documents))

    def deep(self) -> Case:
        depth = self._random.choice([100, 2_000, 100_000])
        opening, closing = self._random.choice([("[", "]"), ('{"a":', "}")])
        inner = opening * depth + "1" + closing * depth
        return self._body('{"inputs": {"user": ' + inner + "}}")

    def cut(self) -> Case:
        body = json.dumps({"inputs": self._columns}).encode()
        return self._body(body[: self._random.randrange(len(body) - 1)])

    def noise(self) -> Case:
        size = self._random.choice([1, 50, 5_000])
        return self._body(self._random.randbytes(size))

    def wrong_encoding(self) -> Case:
        body = json.dumps({"inputs": self._columns}).encode()
        encoding = self._random.choice(["gzip", "deflate", "br", "x"])
        case = self._body(body)
        if encoding == "x":
            # Passed over, as any header that says nothing.
            return dataclasses.replace(
                case, headers={"Content-Encoding": "x"}, may_succeed=True
            )
        return dataclasses.replace(case, headers={"Content-Encoding": encoding})

    def bomb(self) -> Case:
        return dataclasses.replace(
            self._body(BOMB), headers={"Content-Encoding": "gzip"}
        )

    def wrong_examples(self) -> Case:
        api = self._random.choice(["classify", "regress"])
        documents: list[tuple[Any, str]] = [
            ({}, "examples"),
            ({"examples": []}, "examples"),
            ({"examples": [1]}, "examples"),
            ({"examples": [{"user": "x"}]}, "user"),
            ({"examples": [{"price": [1.5, 2.5]}]}, "price"),
            ({"examples": [{"tags": ["a", 1]}]}, "tags"),
            ({"examples": [{"user": None}]}, "user"),
            ({"examples": [{"city": {"b64": "%"}}]}, "city"),
            ({"examples": [{"user": 2**63}]}, "user"),
            ({"examples": [{}], "context": 1}, "context"),
        ]
        document, word = self._random.choice(documents)
        document = {"signature_name": f"{api}_click", **document}
        case = self._body(json.dumps(document), word)
        return dataclasses.replace(case, path=f"/v1/models/model:{api}")

    def wrong_path(self) -> Case:
        path = self._random.choice(_PATHS)
        if self._random.random() < 0.5:
            return Case("", "GET", path)
        suffix = self._random.choice(["", ":predict", ":classify", ":x"])
        body = json.dumps({"inputs": self._columns}).encode()
        return Case("", "POST", path + suffix, body)

    def wrong_method(self) -> Case:
        methods = ["PUT", "DELETE", "OPTIONS", "PATCH", "BREW", "TRACE", "HEAD"]
        method = self._random.choice(methods)
        return Case("", method, "/v1/models/model:predict")

    def huge_header(self) -> Case:
        size = self._random.choice([9_000, 60_000])
        case = self._body(json.dumps({"inputs": self._columns}))
        return dataclasses.replace(case, headers={"X-Long": "x" * size})


# A thousand times as long as it seems.
BOMB = gzip.compress(b" " * (1 << 22))

KINDS: list[Callable[[Malformed], Case]] = [
    getattr(Malformed, name)
    for name in vars(Malformed)
    if not name.startswith("_") and name != "draw"
]

_PREDICT = b"POST /v1/models/model:predict HTTP/1.1\r\nHost: x\r\n"

#: What is no HTTP request; the answer, if there is one, is 4xx.
RAW = (
    b"",
    b"\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET /v1/models/model\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x00" * 500,
    b"GET /v1/models/model HTTP/1.1\r\nHost x\r\n\r\n",
    b"GET /v1/models/model HTTP/1.1\r\n: x\r\n\r\n",
    b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /" + b"x" * 20_000,
    _PREDICT,
    _PREDICT + b"Content-Length: 500\r\n\r\n{",
    _PREDICT + b"Content-Length: -1\r\n\r\n{}",
    _PREDICT + b"Content-Length: 2x\r\n\r\n{}",
    _PREDICT + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
    _PREDICT + b"Content-Length: 2\r\n\r\n{}{}\r\n\r\n",
    _PREDICT + b"Content-Length: 99999999999999999999\r\n\r\n{}",
    _PREDICT + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
    _PREDICT + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
    _PREDICT + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{}",
    _PREDICT + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{",
    _PREDICT + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n",
    _PREDICT + b"Expect: tea\r\nContent-Length: 2\r\n\r\n{}",
)
