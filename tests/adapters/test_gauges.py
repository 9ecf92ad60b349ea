"""Guardrails of the user's own, asked of a real Prometheus and of a real web server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from engine.adapters.gauges.prometheus import query_of
from engine.core.evidence import Measurement
from engine.core.verdict import Verdict
from engine.kinds import GAUGES
from engine.ports import Question
from engine.spec.guardrails import CustomGuardrail
from engine.testing.listening import Server, WebServer, free_port, installed, prometheus

EVIDENCE = {"stable": {"requests": 900, "errors": 3}, "candidate": {"requests": 100, "errors": 1}}


def question(**changes: Any) -> Question:
    values: dict[str, Any] = {
        "model": "churn", "candidate": 4, "stable": 3, "weight": 0.25, "stage": 2, "evidence": EVIDENCE,
        "resolve": lambda text: text.replace("${env:SECRET}", "s3cret"),
    }  # fmt: skip
    return Question(**{**values, **changes})


def block(**fields: Any) -> dict[str, Any]:
    return CustomGuardrail.model_validate({"name": "refunds", **fields}).model_dump(mode="json")


def asked(**fields: Any) -> Measurement:
    kind = "prometheus" if "prometheus" in fields else "webhook"
    return GAUGES[kind](block(**fields), question())


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Prometheus that has scraped refunds of two releases, one of them not a number."""
    if not installed("prometheus"):
        pytest.skip("prometheus is not installed (Debian: apt-get install prometheus)")
    registry = CollectorRegistry()
    refunds = Counter("refunds", "Refunds.", ["model", "release"], registry=registry)
    refunds.labels("churn", "4").inc(7)
    refunds.labels("churn", "3").inc(1)
    Gauge("broken", "Not a number.", registry=registry).set(float("nan"))
    http, thread = start_http_server(0, "127.0.0.1", registry)
    server = prometheus(tmp_path_factory.mktemp("prometheus"), {"shop": http.server_port})
    server.wait(lambda: bool(server.get("/api/v1/query?query=refunds_total")["data"]["result"]))
    yield server
    server.close()
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ('refunds_total{release="${candidate}"}', Measurement(7.0)),
        ('sum(refunds_total{model="${model}", release=~"${candidate}|${stable}"})', Measurement(8.0)),
        (
            'refunds_total{release="${candidate}"} / ignoring(release) refunds_total{release="${stable}"}',
            Measurement(7.0),
        ),
        ("scalar(sum(refunds_total))", Measurement(8.0)),
        ("nothing_of_that_name", Measurement(None)),
        ('refunds_total{release="99"}', Measurement(None)),
    ],
)
def test_a_number_of_a_real_prometheus(scraped: Server, query: str, expected: Measurement) -> None:
    assert asked(prometheus=scraped.url, query=query, max=1) == expected


def test_no_number_of_a_real_prometheus(scraped: Server) -> None:
    value = asked(prometheus=f"{scraped.url}/", query="broken", max=1).value
    assert value is not None
    assert value != value


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("refunds_total", "gives 2 series, not one number: add sum()"),
        ("refunds_total[1m]", "gives a matrix"),
        ('"text"', "gives a string"),
        ("sum(", "Prometheus answered 400: "),
    ],
)
def test_a_query_that_gives_no_number(scraped: Server, query: str, words: str) -> None:
    found = asked(prometheus=scraped.url, query=query, max=1)
    assert words in found.error
    assert (found.value, found.verdict) == (None, None)


def test_values_of_labels_are_escaped() -> None:
    own = block(prometheus="http://p", query='a{m="${model}",r="${candidate}",s="${stable}"}', max=1)
    assert query_of(own, question()) == 'a{m="churn",r="4",s="3"}'
    assert query_of(own, question(model='x"} or vector(0) #\\\n')).startswith('a{m="x\\"} or vector(0) #\\\\\\n",r=')


def test_a_server_that_is_not_there_is_an_error() -> None:
    found = asked(prometheus=f"http://127.0.0.1:{free_port()}", query="up", max=1)
    assert found == Measurement(error="the server did not answer (it refuses connections)")
    assert asked(webhook=f"http://127.0.0.1:{free_port()}/").error


def test_a_failing_server_is_asked_four_times(web: WebServer) -> None:
    web.answer = lambda _: (503, {}, b"")
    assert asked(webhook=web.url).error == "the server answered 503"
    assert len(web.received) == 4


@pytest.mark.parametrize(
    "answer",
    [
        b"{",
        b"[]",
        b"[" * 100_000,
        b'{"status": "success"}',
        b'{"status": "success", "data": {"resultType": "vector", "result": [{}]}}',
    ],
)
def test_something_else_than_prometheus(web: WebServer, answer: bytes) -> None:
    web.answer = lambda _: (200, {}, answer)
    found = asked(prometheus=web.url, query="up", max=1)
    assert found.error
    assert len(web.received) == 1


def test_a_webhook_is_told_what_is_known(web: WebServer) -> None:
    web.says({"verdict": "pass", "reason": "all quiet"})
    found = asked(webhook=f"{web.url}/${{env:SECRET}}", token="${env:SECRET}")
    assert found == Measurement(verdict=Verdict.PASS, reason="all quiet")
    [request] = web.received
    assert request.path == "/hook/s3cret"
    assert request.headers["authorization"] == "Bearer s3cret"
    assert request.json == {
        "guardrail": "refunds",
        "model": "churn",
        "candidate": 4,
        "stable": 3,
        "weight": 0.25,
        "stage": 2,
        "evidence": EVIDENCE,
    }


@pytest.mark.parametrize("verdict", ["pass", "fail", "inconclusive"])
def test_verdicts_of_a_webhook(web: WebServer, verdict: str) -> None:
    web.says({"verdict": verdict})
    assert asked(webhook=web.url) == Measurement(verdict=Verdict(verdict))


@pytest.mark.parametrize(
    "answer",
    [
        {},
        [],
        "pass",
        {"verdict": "error"},
        {"verdict": "PASS"},
        {"verdict": True},
        {"verdict": None},
        {"verdict": ["pass"]},
    ],
)
def test_any_other_answer_of_a_webhook_is_an_error(web: WebServer, answer: Any) -> None:
    web.says(answer)
    assert "verdict" in asked(webhook=web.url).error


@pytest.mark.parametrize("status", [301, 400, 401, 404])
def test_a_status_of_a_webhook_that_is_no_answer(web: WebServer, status: int) -> None:
    web.says({"verdict": "pass"}, status)
    assert str(status) in asked(webhook=web.url).error
    assert len(web.received) == 1


def test_a_reason_is_short_harmless_and_without_secrets(web: WebServer) -> None:
    web.says({"verdict": "fail", "reason": f"token s3cret \x1b[31mred\n{'x' * 1000}"})
    reason = asked(webhook=web.url, token="${env:SECRET}").reason
    assert reason.startswith("token *** ")
    assert reason.isprintable()
    assert len(reason) <= 201


def test_a_missing_secret_is_an_error() -> None:
    def resolve(text: str) -> str:
        from engine.spec.references import resolve_reference

        return resolve_reference(text, {}, lambda name: name)

    own = block(webhook="${env:NO_SUCH_URL}")
    found = GAUGES["webhook"](own, question(resolve=resolve))
    assert found.error == "the environment variable NO_SUCH_URL is not set"
    assert json.dumps(own).count("NO_SUCH_URL") == 1


def test_a_link_local_address_is_refused_even_when_written_out() -> None:
    assert "metadata" in asked(webhook="http://169.254.169.254/latest").error


def test_the_project_files_are_where_a_token_may_come_from(tmp_path: Path, web: WebServer) -> None:
    from engine.app.workspace import open_workspace

    (tmp_path / "token").write_text("from a file\n")
    web.says({"verdict": "pass"})
    own = block(webhook=web.url, token="${file:token}")
    GAUGES["webhook"](own, question(resolve=open_workspace(tmp_path).resolve))
    assert web.received[0].headers["authorization"] == "Bearer from a file"
