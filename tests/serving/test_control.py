"""Control on a port of its own: who may, what may be asked, whose name is kept, one thing at a time."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from controlled import Controlled, begin_rollout
from served import JSON, TWIN, Client

from engine.app.tokens import create, revoke
from engine.app.workspace import Workspace
from engine.core.records import delivery_of
from engine.runtime import leases
from engine.serving.tokens import Purpose

ROLLOUT = "/v1/models/churn/rollout"


@pytest.fixture
def control(project: Path) -> Iterator[Controlled]:
    begin_rollout(project, TWIN)
    with Controlled(project) as running:
        yield running


def serial(control: Controlled) -> int:
    with closing(Workspace(control.workspace.root)) as workspace:
        return workspace.reader.lineage().serial


def test_nothing_is_told_or_done_without_a_control_token(control: Controlled) -> None:
    before, audited = serial(control), len(control.audit())
    asked = [(route.method, route.path.format(name="churn")) for route in control.control.routes]
    assert {("POST", f"{ROLLOUT}/promote"), ("POST", "/v1/models/churn/rollback"), ("GET", "/v1/runs")} <= set(asked)
    assert len(asked) == 16
    for method, path in [*asked, ("GET", "/nowhere"), ("DELETE", "/v1/models"), ("POST", "/v1/models/nobody/rollback")]:
        body = {} if method == "POST" else None
        for token in (None, "wrong", control.tokens[Purpose.PREDICT]):
            answer = control.ask(method, path, body, token)
            if path == "/healthz":
                assert answer.json == {"status": "ok"}
            elif path.startswith("/hooks/"):
                assert answer.status == 404, "no secret is named in this project"
            else:
                assert (answer.status, set(answer.json)) == (401, {"error", "remedy"}), path
                assert answer.headers["www-authenticate"] == 'Bearer realm="engine"'
    assert (serial(control), len(control.audit())) == (before, audited)
    assert control.ask("GET", "/v1/models").status == 200
    revoke(control.workspace, "my-control")
    end = time.monotonic() + 20
    while control.ask("GET", "/v1/models").status == 200:
        assert time.monotonic() < end


def test_what_can_be_seen(control: Controlled) -> None:
    [model] = control.ask("GET", "/v1/models").json["models"]
    assert (model["name"], model["endpoint"]["stable"], model["rollout"]["phase"]) == ("churn", 1, "progressing")
    assert {each["name"] for each in model["evidence"]["guardrails"]} >= {"errors", "latency"}
    assert control.ask("GET", "/v1/models/churn").json == model
    rollout = control.ask("GET", ROLLOUT).json
    assert (rollout["rollout"]["candidate"], rollout["verdict"]) == (TWIN, "inconclusive")
    service = control.ask("GET", "/v1/models/churn/releases").json["service"]
    assert [each["version"] for each in service if each["until"] is None] == [TWIN, 1]
    [run] = control.ask("GET", "/v1/runs?model=churn&limit=5").json["runs"]
    assert (run["model"], run["status"]) == ("churn", "done")
    assert control.ask("GET", "/v1/models/churn/events").json == {"events": []}
    assert control.ask("HEAD", "/v1/models").body == b""
    for path in ("/v1/models/chrn", "/v1/models/chrn/rollout", "/v1/models/chrn/releases", "/v1/runs?model=chrn"):
        answer = control.ask("GET", path)
        assert (answer.status, "churn" in answer.json["remedy"]) == (404, True)
    for query in ("limit=0", "limit=many", "limt=3"):
        assert control.ask("GET", f"/v1/runs?{query}").status == 422
    assert control.ask("GET", "/v1/models?model=churn").status == 422
    assert control.ask("GET", "/v1/models/a/b/rollout").status == 404
    wrong = control.ask("GET", f"{ROLLOUT}/pause")
    assert (wrong.status, wrong.headers["allow"]) == (405, "POST")
    described = control.ask("GET", "/openapi.json").json["paths"]
    assert {(method.upper(), path) for path, methods in described.items() for method in methods} == {
        (route.method, route.path) for route in control.control.routes
    }


def test_wishes_are_carried_out_in_the_name_of_the_token(control: Controlled) -> None:
    def wish(what: str, body: Any = None) -> Any:
        answer = control.ask("POST", f"/v1/models/churn/{what}", {} if body is None else body)
        if answer.status != 200:
            assert set(answer.json) >= {"error", "remedy"}, answer
            return answer.status
        return answer.json["rollout"]["phase"] if answer.json["rollout"] else answer.json["endpoint"]["stable"]

    assert control.ask("POST", f"{ROLLOUT}/pause", None).json["rollout"]["phase"] == "paused", "no body is needed"
    assert [wish("rollout/pause"), wish("rollout/resume"), wish("rollout/resume")] == [409, "progressing", 409]
    assert [wish("rollout/abort", {"reason": "noise"}), wish("rollout/promote"), wish("rollback")] == [
        "aborted",
        409,
        409,
    ]
    assert [wish("rollout/retry"), wish("rollout/retry"), wish("rollout/promote")] == ["progressing", 409, "promoted"]
    assert [wish("rollback", {"version": 99}), wish("rollback", {"version": TWIN})] == [404, 409]
    assert wish("rollback", {"reason": "complaints"}) == 1
    assert control.ask("GET", "/v1/models/churn").json["endpoint"]["stable"] == 1
    named = [event for actor, event in control.audit() if actor == "my-control"]
    assert named.count("endpoint changed") == 4
    assert named.count("rollout changed") + named.count("rollout started") == 5
    rows = control.ask("GET", "/v1/models/churn/releases").json["service"]
    assert (rows[-1]["actor"], rows[-1]["reason"]) == ("my-control", "rolled back: complaints")
    assert control.ask("POST", "/v1/models/chrn/rollback", {}).status == 404


def test_what_cannot_be_meant_is_refused(control: Controlled) -> None:
    before = serial(control)
    back = "/v1/models/churn/rollback"
    for body, status in (
        ({"versoin": 1}, 422),
        ({"version": "1"}, 422),
        ({"version": 0}, 422),
        ({"version": True}, 422),
        ([], 400),
        (b"{", 400),
        (b'{"reason": NaN}', 400),
        (b'{"reason": "a", "reason": "b"}', 400),
        ({"reason": "x" * 2001}, 422),
        ({"reason": "x" * 70_000}, 413),
    ):
        answer = control.ask("POST", back, body)
        assert (answer.status, "error" in answer.json) == (status, True), body
    assert control.ask("POST", f"{ROLLOUT}/pause", {"reason": "none is taken"}).status == 422
    assert control.ask("POST", back, b"{}", headers={"content-type": "text/plain"}).status == 415
    assert control.ask("POST", back, b"{}", headers={"content-encoding": "gzip"}).status == 415
    for headers in ({"host": "evil.example"}, {"origin": "http://evil.example"}):
        assert control.ask("POST", back, {}, headers=headers).status == 403
    assert serial(control) == before


def test_what_somebody_else_holds_is_locked(control: Controlled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "ENDPOINT_SECONDS", 0.1)
    with closing(Workspace(control.workspace.root)) as workspace:
        lease = workspace.store.acquire(delivery_of("churn"), "ben", 60)
        locked = control.ask("POST", f"{ROLLOUT}/pause", {})
        assert (locked.status, "locked by ben" in locked.json["error"]) == (423, True)
        assert "retry-after" in locked.headers
        workspace.store.release(lease)
    assert control.ask("POST", f"{ROLLOUT}/pause", {}).status == 200


def test_of_many_equal_wishes_one_is_carried_out(control: Controlled) -> None:
    with ThreadPoolExecutor(20) as pool:
        statuses = list(pool.map(lambda _: control.ask("POST", f"{ROLLOUT}/pause", {}).status, range(20)))
    assert sorted(statuses) == [200] + [409] * 19
    assert control.control._locks == {}


def test_a_request_for_a_retrain_waits_in_the_inbox_once(control: Controlled) -> None:
    path = "/v1/models/churn/trigger"
    told = {"reason": "new prices", "event": "prices", "id": "load-7"}
    first = control.ask("POST", path, told)
    assert (first.status, first.json) == (202, {"accepted": True, "id": "load-7", "model": "churn"})
    again = control.ask("POST", path, told)
    assert (again.status, again.json["accepted"]) == (200, False)
    assert control.ask("POST", path, {"reason": "and again"}).status == 202
    found = [(event.kind.value, event.event, event.reason, event.actor) for event in control.events()]
    assert found == [
        ("manual", "prices", "new prices", "my-control"),
        ("manual", "", "and again", "my-control"),
    ]
    for body in ({}, {"reason": ""}, {"reason": "x", "id": "a b"}, {"reason": "x", "event": "a b"}):
        assert control.ask("POST", path, body).status == 422
    assert control.ask("POST", "/v1/models/chrn/trigger", told).status == 404
    assert [each["reason"] for each in control.ask("GET", "/v1/models/churn/events").json["events"]] == [
        "and again",
        "new prices",
    ]


def test_slow_clients_are_cut_and_others_answered(project: Path) -> None:
    with Controlled(project, head_seconds=0.3, body_seconds=0.3, max_connections=40) as control:
        host, _, port = control.address.rpartition(":")
        heads = [
            b"GET /v1/mod",
            b"POST /v1/models/churn/trigger HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{",
        ]
        slow = [socket.create_connection((host, int(port)), timeout=20) for _ in range(30)]
        for number, connection in enumerate(slow):
            connection.sendall(heads[number % 2])
        with closing(Client(control.address)) as client:
            assert all(client.ask("GET", "/healthz", headers=JSON).status == 200 for _ in range(20))
        for connection in slow:
            with connection:
                assert connection.recv(4096).startswith(b"HTTP/1.1 408")


def test_one_process_serves_and_is_controlled(project: Path) -> None:
    begin_rollout(project, TWIN)
    tokens = {purpose: create(Workspace(project), purpose, None, None)[1] for purpose in Purpose}
    command = [sys.executable, "-m", "engine", "--chdir", str(project), "serve", "--port", "0", "--control-port", "0"]
    process = subprocess.Popen([*command, "--require-token"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline(), process.stdout.readline()]
        found = {line.split()[0]: line.split()[2].removeprefix("http://") for line in lines}
        predict = {"authorization": f"Bearer {tokens[Purpose.PREDICT]}"}
        control = {"authorization": f"Bearer {tokens[Purpose.CONTROL]}"}
        with closing(Client(found["Serving"])) as gateway, closing(Client(found["Control"])) as door:
            end = time.monotonic() + 60
            while gateway.ask("GET", "/readyz").status != 200:
                assert time.monotonic() < end
            assert gateway.predict(headers=predict).json["version"] in (1, TWIN)
            assert gateway.predict(headers=control).status == 401, "a control token is no token for predictions"
            assert gateway.ask("POST", f"{ROLLOUT}/promote", {}, {**predict}).status == 404
            assert door.ask("POST", f"{ROLLOUT}/promote", {}, predict).status == 401
            while door.ask("POST", f"{ROLLOUT}/promote", {}, control).status != 200:  # until the candidate is ready
                assert time.monotonic() < end
            while {gateway.predict(headers=predict).json["version"] for _ in range(5)} != {TWIN}:
                assert time.monotonic() < end
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        process.stdout.close()
