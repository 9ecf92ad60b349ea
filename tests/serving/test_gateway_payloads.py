"""What a request may say: every form of payload, every refusal, and bytes that mean nothing."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from served import PREDICT, ROW, Client, Gateway

OTHER = {"months": 55, "calls": 0, "plan": None}
COLUMNS = list(ROW)
INFER = "/v2/models/churn/infer"


@pytest.fixture
def client(live: Gateway) -> Iterator[Client]:
    found = live.client()
    yield found
    found.close()


def tensor(name: str, datatype: str, data: list[Any], shape: list[int] | None = None) -> dict[str, Any]:
    return {"name": name, "shape": shape or [len(data)], "datatype": datatype, "data": data}


TENSORS = [
    tensor("months", "FP32", [3.0, 55.0]),
    tensor("calls", "INT64", [5, 0], [2, 1]),
    tensor("plan", "BYTES", ["a", None]),
]


def test_our_own_form(client: Client) -> None:
    answer = client.ask("POST", PREDICT, {"instances": [ROW, OTHER, {**ROW, "customer": "c7"}]})
    document = answer.json
    assert answer.status == 200
    assert document["predictions"] == ["yes", "no", "yes"]
    assert [round(sum(shares.values()), 9) for shares in document["probabilities"]] == [1, 1, 1]
    assert document["probabilities"][0]["yes"] > 0.5 > document["probabilities"][1]["yes"]
    assert len(set(document["ids"])) == 3
    assert (document["model"], document["version"], document["role"]) == ("churn", 1, "stable")
    assert answer.headers["x-engine-release"] == "1"
    single = client.ask("POST", PREDICT, ROW).json
    assert single["predictions"] == ["yes"]
    assert single["probabilities"] == document["probabilities"][:1]
    assert not set(single["ids"]) & set(document["ids"])


@pytest.mark.parametrize(
    "payload",
    [
        {"dataframe_split": {"columns": COLUMNS, "index": [0, 1], "data": [list(ROW.values()), list(OTHER.values())]}},
        {"dataframe_records": [ROW, OTHER]},
        {"instances": [ROW, OTHER]},
        {"instances": [list(ROW.values()), list(OTHER.values())]},
        {"inputs": {name: [ROW[name], OTHER[name]] for name in COLUMNS}},
        {"inputs": {name: [[ROW[name]], [OTHER[name]]] for name in COLUMNS}},
        {"inputs": [ROW, OTHER], "params": {}},
    ],
)
@pytest.mark.parametrize("path", ["/invocations", "/invocations?model=churn", "/v1/models/churn/invocations"])
def test_mlflows_payloads(client: Client, path: str, payload: Any) -> None:
    answer = client.ask("POST", path, payload)
    assert (answer.status, answer.json) == (200, {"predictions": ["yes", "no"]})


def test_the_open_inference_protocol(client: Client) -> None:
    about = client.ask("GET", "/v2/models/churn").json
    assert about["versions"] == ["1"]
    assert [(each["name"], each["datatype"]) for each in about["inputs"]] == [
        ("months", "FP64"),
        ("calls", "FP64"),
        ("plan", "BYTES"),
    ]
    for path in (INFER, "/v2/models/churn/versions/1/infer"):
        answer = client.ask("POST", path, {"id": "mine", "inputs": TENSORS}).json
        assert (answer["model_name"], answer["model_version"], answer["id"]) == ("churn", "1", "mine")
        labels, shares = answer["outputs"]
        assert labels == {"name": "predict", "datatype": "BYTES", "shape": [2], "data": ["yes", "no"]}
        assert (shares["shape"], len(shares["data"])) == ([2, 2], 4)
    for path in ("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/churn/ready"):
        assert client.ask("GET", path).status == 200
    assert client.ask("GET", "/v2/models/churn/versions/7/ready").status == 404


def test_binary_tensors(client: Client) -> None:
    words = b"".join(struct.pack("<I", len(word)) + word for word in (b"a", b"b"))
    parts = {"months": struct.pack("<2d", 3, 55), "calls": struct.pack("<2q", 5, 0), "plan": words}
    kinds = {"months": "FP64", "calls": "INT64", "plan": "BYTES"}
    inputs = [
        {"name": name, "shape": [2], "datatype": kinds[name], "parameters": {"binary_data_size": len(data)}}
        for name, data in parts.items()
    ]
    head = json.dumps({"inputs": inputs}).encode()
    headers = {"inference-header-content-length": str(len(head)), "content-type": "application/octet-stream"}
    answer = client.ask("POST", INFER, head + b"".join(parts.values()), headers)
    assert answer.json["outputs"][0]["data"] == ["yes", "no"]
    for body in (head + b"".join(parts.values())[:-1], head + b"".join(parts.values()) + b"x", head):
        assert client.ask("POST", INFER, body, headers).status == 422
    nan = head + struct.pack("<2d", 3, float("nan")) + b"".join(list(parts.values())[1:])
    assert "NaN" in client.ask("POST", INFER, nan, headers).json["error"]
    assert client.ask("POST", INFER, head, {"inference-header-content-length": "99999"}).status == 400
    assert client.ask("POST", INFER, head, {"inference-header-content-length": "-1"}).status == 400


def _tensor(data: bytes, shape: bytes = b"1") -> bytes:
    return b'{"name": "months", "shape": [%s], "datatype": "FP64", "data": %s}' % (shape, data)


REFUSED = [
    (PREDICT, b"", 400, ["not JSON"]),
    (PREDICT, b"\xff\xfe", 400, ["UTF-8"]),
    (PREDICT, b'{"months": NaN}', 400, ["NaN"]),
    (PREDICT, b'{"months": -Infinity}', 400, ["-Infinity"]),
    (PREDICT, b'{"months": 1, "months": 2}', 400, ['\\"months\\"', "twice"]),
    (PREDICT, b'{"instances": [{"months": 1, "months": 2}]}', 400, ["twice"]),
    (PREDICT, b'{"months": ' + b"9" * 5000 + b"}", 400, ["too long"]),
    (PREDICT, b"[" * 100_000, 400, ["deeply"]),
    (PREDICT, b"[]", 422, ["object"]),
    (PREDICT, {"instances": []}, 422, ["no rows"]),
    (PREDICT, {"instances": [1]}, 422, ["row 0", "object"]),
    (PREDICT, {"instances": [ROW], "more": 1}, 422, ["more"]),
    (PREDICT, {"months": 1}, 422, ["calls: is missing", "plan: is missing"]),
    (PREDICT, {**ROW, "extra": 1}, 422, ["extra: is not a column"]),
    (PREDICT, {**ROW, "months": "3"}, 422, ["months: a number is expected", '\\"3\\"']),
    (PREDICT, {**ROW, "months": True}, 422, ["months: a number is expected", "true"]),
    (PREDICT, {**ROW, "months": [3]}, 422, ["months: a number is expected", "a list"]),
    (PREDICT, {**ROW, "plan": 3}, 422, ["plan: a string is expected", "3"]),
    (PREDICT, b'{"months": 1e999, "calls": 1, "plan": "a"}', 422, ["months", "64-bit"]),
    (PREDICT, {**ROW, "months": 10**400}, 422, ["months", "number"]),
    (PREDICT, {"instances": [ROW, {**ROW, "calls": None}, {**ROW, "calls": "x"}]}, 422, ["row 2: calls"]),
    ("/invocations", {"dataframe_split": {"columns": ["months"], "data": [[1]]}}, 422, ["calls: is missing"]),
    ("/invocations", {"dataframe_split": {"columns": COLUMNS, "data": [[1]]}}, 422, ["lists of 3 values"]),
    ("/invocations", {"dataframe_split": {"columns": ["months", "months"], "data": [[1, 2]]}}, 422, ["named twice"]),
    ("/invocations", {"dataframe_split": [1]}, 422, ["dataframe_split"]),
    ("/invocations", {"inputs": {"months": [1, 2], "calls": [1], "plan": ["a"]}}, 422, ["equally long", "months 2"]),
    ("/invocations", {"instances": [ROW], "inputs": [ROW]}, 422, ["one of"]),
    ("/invocations", {"instances": [ROW], "params": {"a": 1}}, 422, ["params"]),
    ("/invocations", {"other": 1}, 422, ["dataframe_split", "other"]),
    (INFER, {"inputs": []}, 422, ["inputs"]),
    (INFER, {"inputs": TENSORS[:2]}, 422, ["plan: is missing"]),
    (INFER, {"inputs": [*TENSORS, TENSORS[0]]}, 422, ["months", "twice"]),
    (INFER, {"inputs": [tensor("x", "FP64", [1, 2], [1, 2])]}, 422, ["[n, 3]"]),
    (INFER, {"inputs": [tensor("months", "FP64", [1, 2], [3])]}, 422, ["2 values for the shape [3]"]),
    (INFER, {"inputs": [tensor("months", "COMPLEX", [1])]}, 422, ["datatype"]),
    (INFER, {"id": 3, "inputs": TENSORS}, 422, ["id"]),
    # Each of these once ended the model's process.
    ("/invocations", {"instances": [ROW], "params": 5}, 422, ["params"]),
    ("/invocations", {"instances": [ROW], "params": [None, 1]}, 422, ["params"]),
    ("/invocations", {"dataframe_split": {"columns": ["a"] * 39_000, "data": []}}, 422, ["named twice: a"]),
    (PREDICT, b"{" + b",".join(b'"%d":1' % n for n in range(15_000)) + b',"14999":1}', 400, ["twice"]),
    (PREDICT, b'{"plan": "\\ud800", "months": 1, "calls": 1}', 400, ["surrogate"]),
    (INFER, b'{"inputs": [' + _tensor(b"[" * 990 + b"]" * 990) + b"]}", 422, ["months: a number", "a list"]),
    (INFER, b'{"inputs": [' + _tensor(b"[" + b"9" * 400 + b"]") + b', {"a:b": 1}]}', 422, ["no name"]),
    (INFER, b'{"a:b": 1, "inputs": [' + _tensor(b"[" + b"9" * 400 + b"]") + b"]}", 422, ["calls: is missing"]),
    (INFER, b'{"a:b": 1, "inputs": [' + _tensor(b"[]", b"9" * 4000) + b"]}", 422, ["shape"]),
    (INFER, {"inputs": [tensor("months", "FP64", [1], [1, 1, 1])]}, 422, ["3 dimensions"]),
]


@pytest.mark.parametrize(("path", "body", "status", "words"), REFUSED)
def test_a_refusal_says_what_is_wrong(client: Client, path: str, body: Any, status: int, words: list[str]) -> None:
    answer = client.ask("POST", path, body)
    assert answer.status == status
    assert all(word in answer.body.decode() for word in words), answer.body
    assert "Traceback" not in answer.body.decode()
    if path == "/invocations":
        assert answer.json["error_code"] == "BAD_REQUEST"
        assert answer.json["message"]


def test_every_mistake_is_named_with_its_row_and_column(client: Client) -> None:
    rows = [{**ROW, "months": "x"}, {"calls": 1, "plan": "a", "extra": 0}]
    details = client.ask("POST", PREDICT, {"instances": rows}).json["details"]
    assert {(detail["row"], detail["column"]) for detail in details} == {(0, "months"), (1, "months"), (1, "extra")}


def test_the_description_lists_what_is_served(client: Client) -> None:
    paths = client.ask("GET", "/openapi.json").json["paths"]
    for path, methods in paths.items():
        for method in methods:
            assert client.ask(method.upper(), path, None if method == "get" else ROW).status not in (404, 405, 500)
    page = client.ask("GET", "/docs")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert b"http://" not in page.body
    assert b"https://" not in page.body


def test_metrics_have_the_promised_names(gateway: Gateway, client: Client) -> None:
    before = gateway.metric("model_predictions_total", model="churn", release="1", role="stable")
    client.ask("POST", PREDICT, {"instances": [ROW, ROW]})
    assert gateway.metric("model_predictions_total", model="churn", release="1", role="stable") == before + 2
    assert gateway.metric("model_prediction_latency_seconds_count") > 0
    assert gateway.metric("model_traffic_weight", role="stable") == 1
    assert gateway.metric("engine_process_resident_memory_bytes", process="model-0") > 1e6
    assert gateway.metric("model_requests_in_flight") == 0


def test_nothing_makes_it_fail(gateway: Gateway, client: Client) -> None:
    generator = random.Random(7)
    errors = gateway.metric("model_errors_total")
    good = [
        (PREDICT, json.dumps({"instances": [ROW, OTHER]}).encode()),
        ("/invocations", json.dumps({"inputs": {name: [ROW[name]] for name in COLUMNS}}).encode()),
        (INFER, json.dumps({"inputs": TENSORS}).encode()),
    ]
    tokens = [b"null", b"[]", b"{}", b"1e400", b"-0", b'"\\ud800"', b'"\x00"', b"\xc0", b"NaN", b"[[", b"1" * 400]
    statuses = set()
    for _ in range(400):
        path, body = generator.choice(good)
        data = bytearray(body)
        for _ in range(generator.randint(1, 4)):
            start = generator.randrange(len(data) + 1)
            end = min(len(data), start + generator.choice((0, 1, 1, 2, 8)))
            data[start:end] = generator.choice([*tokens, bytes([generator.randrange(256)]), bytes(data[end : end + 9])])
        answer = client.ask("POST", path, bytes(data))
        assert answer.status in (200, 400, 422), (bytes(data), answer)
        statuses.add(answer.status)
        document = json.loads(answer.body, parse_constant=lambda name: pytest.fail(f"{name} in an answer"))
        assert ("error" in document) == (answer.status != 200)
    assert statuses == {200, 400, 422}
    assert gateway.metric("model_errors_total") == errors
