"""Every path of the gateway and of the control listener, asked for by somebody who may not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from controlled import Controlled
from served import ROW, Gateway

from engine.app.tokens import create
from engine.app.workspace import Workspace
from engine.serving import gateway as gateways
from engine.serving.settings import Settings
from engine.serving.tokens import Purpose

OPEN = {"/healthz", "/readyz", "/ping", "/health", "/v2/health/live", "/v2/health/ready"}
"""What the gateway tells without a token. Who adds to it must do so here, too."""
FOREIGN: tuple[Mapping[str, str], ...] = (
    {"host": "evil.example"},
    {"host": "localhost.evil.example:8080"},
    {"host": "127.0.0.1.evil.example"},
    {"origin": "https://evil.example"},
    {"origin": "https://localhost.evil.example"},
    {"origin": "null"},
)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
ELSEWHERE = (
    "/", "/nowhere", "/v1/models/nobody", "/v2/models/churn/versions/77", "//metrics", "/metrics/", "/METRICS",
    "/%6detrics", "/healthz/../metrics", "/healthz/%2e%2e/metrics", "/metrics?/healthz", "/metrics%3f/healthz",
    "/metrics;a=/healthz",
)  # fmt: skip


def gateway_paths() -> Mapping[str, set[str]]:
    """The gateway's own table, with the methods of each path, where churn has release 1."""
    found = gateways.Gateway(Settings(), cast(Any, None), lambda: (b"", ""))
    found.known = frozenset({"churn"})
    found.fleet = cast(Any, SimpleNamespace(routes={"churn": SimpleNamespace(forced={1: None})}))
    found.renew()
    return {path.decode(): {method.decode() for method in methods} for path, methods in found.paths.items()}


def body_of(method: str) -> Any:
    return {"instances": [ROW]} if method in ("POST", "PUT", "PATCH") else None


def test_the_gateway_opens_nothing_by_accident(project: Path, serve: Callable[..., Gateway]) -> None:
    workspace = Workspace(project)
    tokens = {purpose: create(workspace, purpose, purpose.value, None)[1] for purpose in Purpose}
    gateway = serve(require_token=True).ready()
    client, right = gateway.client(), {"authorization": f"Bearer {tokens[Purpose.PREDICT]}"}
    paths = gateway_paths()
    assert len(paths) >= 22
    assert paths.keys() >= OPEN
    wrong = ("", f"Bearer {tokens[Purpose.CONTROL]}", f"Bearer {right['authorization'][7:-1]}", "Basic YTpi", "Bearer")
    for path in (*paths, *ELSEWHERE):
        for method in METHODS:
            few = 1 if method not in ("GET", "POST") else None
            credentials = [{"authorization": each} if each else {} for each in wrong[:few]]
            given = [client.ask(method, path, body_of(method), each) for each in credentials]
            if path in OPEN:
                assert {answer.status for answer in given} <= {200, 204, 405}, (method, path)
                assert all(len(answer.body) < 100 for answer in given)
            else:
                assert {answer.status for answer in given} == {401}, (method, path)
                assert {answer.headers["www-authenticate"] for answer in given} == {'Bearer realm="engine"'}
                for headers in FOREIGN[: few or 2]:
                    answer = client.ask(method, path, body_of(method), {**right, **headers})
                    assert answer.status == 403, (method, path, headers)
        answers = {method: client.ask(method, path, body_of(method), right).status for method in METHODS}
        for method in paths.get(path, ()):
            assert answers[method] in (200, 400, 422), (method, path)
        if path in paths:
            others = {method: answers[method] for method in METHODS if method not in paths[path]}
            assert others == {method: 204 if method == "OPTIONS" else 405 for method in others}, path


def test_without_a_token_another_site_gets_nothing_either(live: Gateway) -> None:
    client = live.client()
    for path, methods in gateway_paths().items():
        for method in sorted(methods):
            for headers in FOREIGN:
                answer = client.ask(method, path, body_of(method), headers)
                assert answer.status == (200 if path in OPEN else 403), (method, path, headers)
            if method == "POST":
                answer = client.ask(method, path, b"a=b", {"content-type": "application/x-www-form-urlencoded"})
                assert answer.status == 415, path


@pytest.fixture
def control(project: Path) -> Any:
    with Controlled(project) as running:
        yield running


def test_control_does_nothing_for_another_site(control: Controlled) -> None:
    before = control.audit()
    for route in control.control.routes:
        path = route.path.format(name="churn")
        for headers in FOREIGN:
            body = {} if route.method == "POST" else None
            for token in ("", None):
                answer = control.ask(route.method, path, body, token, headers)
                expected = 404 if route.signed else 403 if token == "" else 200 if path == "/healthz" else 401
                assert answer.status == expected or (path, answer.status) == ("/healthz", 403), (path, headers)
        if route.method == "POST" and not route.signed:
            answer = control.ask("POST", path, b"{}", headers={"content-type": "text/plain"})
            assert answer.status == 415, path
        others = (
            set(METHODS)
            - {each.method for each in control.control.routes if each.path == route.path}
            - {"HEAD", "OPTIONS"}
        )
        for method in others:
            assert control.ask(method, path, {} if method in ("POST", "PUT", "PATCH") else None).status == 405, (
                method,
                path,
            )
    assert control.audit() == before
