"""What hostile clients send: payloads and bytes, made from seeds, and what must hold for every answer to them."""

from __future__ import annotations

import json
import random
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from served import PREDICT, ROW, Answer, Gateway

MIXED = {"size": 3.5, "owned": True, "seen": "2020-01-02", "note": "red and fine", "kind": "x"}
INVOCATIONS, INFER = "/v1/models/{}/invocations", "/v2/models/{}/infer"
FEEDBACK = "/v1/models/{}/feedback"
_DATATYPES = {float: "FP64", int: "INT64", bool: "BOOL", str: "BYTES"}
_LEAK = re.compile(
    rb"Traceback|\.py\b|site-packages|\.engine|/(?:home|root|tmp|usr|work|var|etc)/|0x[0-9a-f]{8}|<[a-z_.]+ object"
)


# ── what every answer must be ────────────────────────────────────────────────────────────────────────────────


def check(answer: Answer, sent: object, also: tuple[int, ...] = ()) -> None:
    """No failure of ours (but those in `also`), no trace of what is inside, no number that is none."""
    assert answer.status < 500 or answer.status in also, (sent, answer)
    assert not _LEAK.search(answer.body), (sent, answer)
    if answer.headers.get("content-type", "").startswith("application/json") and answer.body:
        document = json.loads(answer.body, parse_constant=_no_number)
        assert answer.status < 400 or document["error"], (sent, answer)
        if answer.status == 200 and isinstance(document, dict) and "predictions" in document:
            assert None not in document["predictions"], (sent, answer)


def _no_number(name: str) -> Any:
    raise AssertionError(f"{name} in an answer")


@dataclass
class Watch:
    """That nothing of a gateway died, failed or broke while it was attacked: ask `unharmed` afterwards."""

    gateway: Gateway
    models: Mapping[str, Mapping[str, Any]]  # a row for each

    def __post_init__(self) -> None:
        self._log = len(self._text())
        self._processes = self.processes()
        self._errors = self.gateway.metric("model_errors_total")
        self._answers = self.answers()

    def processes(self) -> list[int]:
        """The gateway's and the models' own."""
        listed = self.gateway.ask("/v1/models").json["models"]
        return [
            self.gateway.process.pid,
            *(pid for model in listed for pids in model["processes"].values() for pid in pids),
        ]

    def answers(self) -> list[Any]:
        """What the models say."""
        client = self.gateway.client()
        found = [client.ask("POST", f"/v1/models/{name}/predict", row) for name, row in self.models.items()]
        assert all(answer.status == 200 for answer in found), found
        client.close()
        return [answer.json["predictions"] for answer in found]

    def unharmed(self) -> None:
        """The same processes give the same answers, and nobody has had to report an exception."""
        assert self.answers() == self._answers
        assert self.processes() == self._processes
        assert self.gateway.metric("model_errors_total") == self._errors
        assert "Traceback" not in self._text()[self._log :], self._text()[self._log :][-3000:]

    def _text(self) -> str:
        return (self.gateway.folder / "gateway.log").read_text()


# ── payloads ─────────────────────────────────────────────────────────────────────────────────────────────────


def forms(name: str, row: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Every way to ask for two rows of a model: (path, document)."""
    other = dict.fromkeys(row)
    columns, rows = list(row), [dict(row), other]
    values = [list(each.values()) for each in rows]
    inputs = [
        {"name": column, "shape": [2, 1], "datatype": _DATATYPES[type(value)], "data": [value, None]}
        for column, value in row.items()
    ]
    return [
        (f"/v1/models/{name}/predict", {"instances": rows}),
        (f"/v1/models/{name}/predict", dict(row)),
        (INVOCATIONS.format(name), {"dataframe_split": {"columns": columns, "index": [0, 1], "data": values}}),
        (INVOCATIONS.format(name), {"dataframe_records": rows, "params": {}}),
        (INVOCATIONS.format(name), {"instances": rows}),
        (INVOCATIONS.format(name), {"inputs": {column: [row[column], None] for column in columns}}),
        (INFER.format(name), {"id": "a", "inputs": inputs, "outputs": [{"name": "predict"}]}),
        (FEEDBACK.format(name), {"feedback": [{"id": "0" * 32, "actual": "yes"}]}),
    ]


# Texts of JSON, or nearly so, that stand anywhere in a payload.
_TEXTS = (
    "null", "true", "false", "0", "-0", "-1", "1.5", "1e400", "-1e400", "1e308", "-1e308", "5e-324", "1E+2",
    "01", "+1", "1.", ".5",
    "9" * 19, "18446744073709551616", "9" * 400, "9" * 4000, "9" * 5000, "1e99999999999", "NaN", "Infinity",
    "-Infinity",
    '""', '"x"', '"\\u0000"', '"\\ud800"', '"\\udc00\\ud800"', '"\\ud83d\\ude00"', '"\\u202e"', '"\\x"',
    '"\\u12"', '"a:b"', "'a'",
    '"' + "y" * 5000 + '"', '"2020-01-01"', '"0001-01-01"', '"9999-12-31T23:59:59.999999999Z"',
    '"-999999-01-01"', '"2020-13-45"',
    "[]", "{}", "[[]]", "[null]", "[1, 2]", '{"a": 1}', '{"a": 1, "a": 2}', '{"": null}', '{"__class__": "x"}',
    "[" * 40 + "]" * 40, "[" * 1000 + "]" * 1000, '{"a":' * 400 + "1" + "}" * 400, "[" * 30000, '{"a":' * 5000,
    "[" + "0," * 3000 + "0]",
    "", " ", "//x", "/**/1", "undefined", "\t", "1 2", "}", "]", ",", ":",
)  # fmt: skip
_BYTES = (
    b"\x00",
    b"\xff",
    b"\xc0\xaf",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xef\xbb\xbf",
    b"\xff\xfe{\x00}\x00",
    b"\x1f\x8b\x08",
    b"\x80\x04\x95",
)
_MARK = "\x01"  # stands for a text in a document that is written


def payload(chance: random.Random, models: Mapping[str, Mapping[str, Any]]) -> tuple[str, bytes]:
    """A path and a body: a payload of some form in which something was put, doubled, taken away or broken."""
    name = chance.choice(list(models))
    path, document = chance.choice(forms(name, models[name]))
    if chance.random() < 0.1:  # the right payload at the wrong path
        path = chance.choice(forms(name, models[name]))[0]
    document = json.loads(json.dumps(document))
    texts = []
    for _ in range(chance.choice((0, 1, 1, 1, 2, 3))):
        texts.append(chance.choice(_TEXTS))
        document = _put(chance, document, _MARK)
    body = json.dumps(document)
    for text in texts:
        body = body.replace(json.dumps(_MARK), text, 1)
    data = bytearray(body.encode())
    if chance.random() < 0.3:
        for _ in range(chance.randint(1, 5)):
            start = chance.randrange(len(data) + 1)
            end = min(len(data), start + chance.choice((0, 0, 1, 2, 9, 100)))
            data[start:end] = chance.choice((*_BYTES, bytes([chance.randrange(256)]), bytes(data[end : end + 9])))
    return path, bytes(data)


def _put(chance: random.Random, document: Any, value: Any) -> Any:
    """Put a value somewhere: in the place of another, under a new key, under a key of another place, or for all."""
    if isinstance(document, dict) and document and chance.random() < 0.85:
        key = chance.choice(list(document))
        what = chance.random()
        if what < 0.7:
            document[key] = _put(chance, document[key], value)
        elif what < 0.8:
            del document[key]
        else:
            document[chance.choice(("params", "months", "id", "shape", "data", "x", "", "\ud800"))] = value
        return document
    if isinstance(document, list) and document and chance.random() < 0.85:
        place = chance.randrange(len(document))
        document[place] = _put(chance, document[place], value)
        return document
    return value


def binary(chance: random.Random) -> tuple[bytes, dict[str, str]]:
    """A body with binary tensors, whose sizes and lengths may be anything, and its headers."""
    kinds = ("FP64", "FP32", "FP16", "INT64", "UINT8", "BOOL", "BYTES", "BF16", "")
    tail = bytes(chance.randrange(256) for _ in range(chance.choice((0, 1, 8, 16, 17, 60))))
    sizes = (0, 1, 4, 8, 16, len(tail), -1, 2**31, 2**63, 1.5, None, True, "8")
    inputs = [
        {
            "name": column,
            "shape": chance.choice(([1], [2], [1, 1], [0], [-1], [2**62, 2**62], [], [1, 1, 1], None, "x")),
            "datatype": chance.choice(kinds),
            "parameters": chance.choice(({"binary_data_size": chance.choice(sizes)}, {}, None, [])),
        }
        for column in ROW
    ]
    head = json.dumps({"inputs": inputs}).encode()
    length = chance.choice((len(head), len(head), len(head), 0, 1, len(head) + 9, -3, 10**30, "x"))
    return head + tail, {"inference-header-content-length": str(length), "content-type": "application/octet-stream"}


# ── bytes on a connection ────────────────────────────────────────────────────────────────────────────────────


def exchange(gateway: Gateway, data: bytes) -> list[Answer]:
    """Send bytes, then nothing more; all answers. Fails if what comes back is no HTTP, or is cut off."""
    with closing(gateway.socket()) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused meanwhile; the answer may be there
        received = b""
        try:
            while more := connection.recv(1 << 16):
                received += more
        except ConnectionResetError:
            pass
    return list(_answers(received, data))


def _answers(received: bytes, sent: bytes) -> Iterator[Answer]:
    while received:
        head, found, received = received.partition(b"\r\n\r\n")
        assert found, (sent, head)
        status, *lines = head.decode("ascii").split("\r\n")
        assert status.startswith("HTTP/1.1 "), (sent, status)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        code = int(status.split()[1])
        if code == 100:
            continue
        bodiless = not received or received.startswith(b"HTTP/1.1 ")  # the answer to HEAD
        length = 0 if bodiless and b"HEAD " in sent else int(headers["content-length"])
        assert len(received) >= length, (sent, head, received)
        yield Answer(code, headers, received[:length])
        received = received[length:]


_ASK = f"POST {PREDICT} HTTP/1.1\r\nhost: localhost\r\n".encode()
_BODY = json.dumps(ROW).encode()
_INNER = _ASK + b"content-length: %d\r\n\r\n" % len(_BODY) + _BODY  # what must not be taken for a request


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _framed(*lines: bytes, body: bytes = _BODY) -> bytes:
    return _ASK + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


_CHUNKED = _chunk(_BODY) + b"0\r\n\r\n"
_LENGTH = b"content-length: %d" % len(_BODY)
_OVER = b"content-length: %d" % (len(_BODY) + len(_INNER))

# Heads that two servers may read differently, so that one takes as a body what the other takes as a request. Each is
# answered once, with 400 unless said otherwise, and the connection is closed: the request inside is never answered.
AMBIGUOUS: Mapping[str, tuple[bytes, int]] = {
    "two lengths": (_framed(_LENGTH, _OVER, body=_BODY + _INNER), 400),
    "the same length twice": (_framed(_LENGTH, _LENGTH, body=_BODY + _INNER), 400),
    "a list of lengths": (_framed(_LENGTH + b", " + _LENGTH[16:], body=_BODY + _INNER), 400),
    "length and chunks": (_framed(b"content-length: 5", b"transfer-encoding: chunked",
    body=b"0\r\n\r\n" + _INNER), 400),
    "chunks and length": (_framed(b"transfer-encoding: chunked", _OVER, body=b"0\r\n\r\n" + _INNER), 400),
    "plus": (_framed(b"content-length: +5", body=_BODY + _INNER), 400),
    "minus": (_framed(b"content-length: -1", body=_BODY + _INNER), 400),
    "hex": (_framed(b"content-length: 0x5", body=_BODY + _INNER), 400),
    "fraction": (_framed(b"content-length: 5.0", body=_BODY + _INNER), 400),
    "beyond 64 bits": (_framed(b"content-length: 18446744073709551617", body=_BODY + _INNER), 400),
    "no number": (_framed(b"content-length: ", body=_INNER), 400),
    "space before the colon": (_framed(b"content-length : 5", body=_BODY + _INNER), 400),
    "unknown coding": (_framed(b"transfer-encoding: xchunked", body=_CHUNKED + _INNER), 400),
    "identity": (_framed(b"transfer-encoding: identity", body=_CHUNKED + _INNER), 400),
    "chunked is not last": (_framed(b"transfer-encoding: chunked, identity", body=_CHUNKED + _INNER), 400),
    "chunked, then another header": (
        _framed(b"transfer-encoding: chunked", b"transfer-encoding: identity", body=_CHUNKED + _INNER), 400,
    ),
    "vertical tab": (_framed(b"transfer-encoding: \x0bchunked", body=_CHUNKED + _INNER), 400),
    "quoted": (_framed(b'transfer-encoding: "chunked"', body=_CHUNKED + _INNER), 400),
    "folded": (_framed(b"transfer-encoding:\r\n chunked", body=_CHUNKED + _INNER), 400),
    "null in a name": (_framed(b"transfer-encoding\x00: chunked", body=_CHUNKED + _INNER), 400),
    "null in a value": (_framed(b"x: a\x00b", _LENGTH, body=_BODY + _INNER), 400),
    "bare carriage return": (_framed(b"x: a\rtransfer-encoding: chunked", body=_CHUNKED + _INNER), 400),
    "bare line feed": (_framed(b"x: a\ntransfer-encoding: chunked", body=_CHUNKED + _INNER), 400),
    "line feeds alone": (_framed(_LENGTH, body=_BODY + _INNER).replace(b"\r\n", b"\n"), 400),
    "a line without colon": (_framed(b"transfer-encoding chunked", body=_CHUNKED + _INNER), 400),
    "space before the first header": (_framed(b" content-length: 5", body=_BODY + _INNER), 400),
    "chunk size with sign": (_framed(b"transfer-encoding: chunked", body=b"+5\r\nabcde\r\n0\r\n\r\n" + _INNER), 400),
    "chunk size with 0x": (_framed(b"transfer-encoding: chunked", body=b"0x5\r\nabcde\r\n0\r\n\r\n" + _INNER), 400),
    "chunk size beyond 64 bits": (_framed(b"transfer-encoding: chunked",
    body=b"1" + b"0" * 16 + b"\r\n" + _INNER), 400),
    "no chunk size": (_framed(b"transfer-encoding: chunked", body=b"\r\nabc\r\n0\r\n\r\n" + _INNER), 400),
    "chunk longer than said": (_framed(b"transfer-encoding: chunked", body=b"3\r\nabcde\r\n0\r\n\r\n" + _INNER), 400),
    "chunk ends in a line feed": (_framed(b"transfer-encoding: chunked", body=b"3\nabc\n0\n\n" + _INNER), 400),
    "another version": (_framed(_LENGTH).replace(b"HTTP/1.1", b"HTTP/3.7", 1) + _INNER, 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _INNER, 400),
    "HTTP/0.9": (b"GET /healthz\r\n" + _INNER, 400),
    "two hosts": (_framed(b"host: localhost", _LENGTH, body=_BODY + _INNER), 400),
}  # fmt: skip


def stream(chance: random.Random) -> bytes:
    """What a connection sends: some requests after each other, framed in some way, with some bytes changed."""
    parts = []
    for _ in range(chance.choice((1, 1, 2, 5, 40))):
        parts.append(chance.choice(_STREAMS)(chance))
    data = bytearray(b"".join(parts))
    for _ in range(chance.choice((0, 1, 1, 2, 8))):
        start = chance.randrange(len(data) + 1)
        end = min(len(data), start + chance.choice((0, 1, 1, 2, 30)))
        data[start:end] = chance.choice((*_WEDGES, bytes([chance.randrange(256)])))
    if chance.random() < 0.2:
        del data[chance.randrange(len(data) + 1) :]
    return bytes(data)


_WEDGES = (
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\x00", b" ", b"\t", b":", b"HTTP/1.1", b"HTTP/1.0", b"0\r\n\r\n",
    b"ffffffff\r\n",
    b"\r\ncontent-length: 3", b"\r\ntransfer-encoding: chunked", b"\r\nconnection: close",
    b"\r\nexpect: 100-continue",
    b"\r\nupgrade: h2c\r\nconnection: upgrade", b"\r\nx-engine-release: " + b"9" * 5000, b"%00", b"%ff%fe",
    b"/../../etc/passwd", b"",
)  # fmt: skip
_METHODS = (b"GET", b"HEAD", b"POST", b"OPTIONS", b"DELETE", b"TRACE", b"CONNECT", b"PATCH", b"SUBSCRIBE", b"X")
_PATHS = (
    b"/", b"*", b"/healthz", b"/metrics", b"/docs", b"/openapi.json", b"/v1/models", b"/v1/models/churn",
    b"/v2/models/churn",
    b"/v2/models/churn/versions/1", b"/v2/models/churn/versions/" + b"9" * 50, b"/v1/models/%63hurn/predict",
    b"/v1/models/..%2f..%2f",
    b"/invocations?model=%ff", b"/invocations?" + b"&".join([b"model=churn"] * 99),
    b"http://localhost/healthz", b"localhost:80", b"//",
)  # fmt: skip
_STREAMS: tuple[Callable[[random.Random], bytes], ...] = (
    lambda chance: _INNER,
    lambda chance: _framed(b"transfer-encoding: chunked", body=_chunk(_BODY[:7]) + _chunk(_BODY[7:]) + b"0\r\n\r\n"),
    lambda chance: _framed(b"Transfer-Encoding: Chunked", body=_CHUNKED[:-2] + b"x-trailer: a\r\n\r\n"),
    lambda chance: b"%s %s HTTP/1.1\r\nhost: localhost\r\n\r\n" % (chance.choice(_METHODS), chance.choice(_PATHS)),
    lambda chance: chance.choice(list(AMBIGUOUS.values()))[0],
    lambda chance: bytes(chance.randrange(256) for _ in range(chance.choice((1, 20, 300)))),
)
