"""Hostile payloads and bytes: no failure of ours, nobody dies, and the right answers come as before.

`ENGINE_SOAK=1` sends twenty thousand payloads and streams instead of some hundreds.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attacks import AMBIGUOUS, MIXED, Watch, binary, check, exchange, payload, stream
from served import ROW, Answer, Client, Gateway

from engine.cli.entry import run

SOAK = os.environ.get("ENGINE_SOAK") == "1"
PAYLOADS, BINARIES, STREAMS, CASES = (12_000, 2_000, 4_000, 300) if SOAK else (400, 60, 120, 8)
MODELS = {"churn": ROW, "mixed": MIXED}
_SPEC = """\
model_spec:
  name: mixed
  data: {source: data/mixed.csv, target: price}
  training: {estimator: sklearn.linear_model.Ridge}
  validation: {metric: mae, threshold: 1000}
  deployment: {strategy: recreate}
"""


@pytest.fixture(scope="module")
def attacked(
    made_once: Callable[[str, Callable[[Path], object]], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """A gateway with a classifier, and a regressor whose columns are of all kinds."""
    made = made_once("attacked", _make)
    folder = Path(shutil.copytree(made / "project", tmp_path_factory.mktemp("attacked") / "project", symlinks=True))
    found = Gateway(folder).start().ready()
    yield found
    assert found.stop() == 0


def _make(made: Path) -> None:
    from cli_project import make_project

    folder = make_project(made / "project")
    (folder / "specs" / "mixed.yaml").write_text(_SPEC)
    (folder / "data" / "mixed.csv").write_text(_mixed_rows(300))
    assert run(["--chdir", str(folder), "apply", "--auto-approve"]) == 0


def _mixed_rows(number: int) -> str:
    chance = random.Random(3)
    words = ["red", "green", "blue", "small", "large", "old", "new", "fine", "broken", "shiny", "rusty"]
    lines = ["size,owned,seen,note,kind,price"]
    for row in range(number):
        size, owned = chance.uniform(0, 50), chance.random() < 0.5
        seen = f"20{chance.randint(10, 24)}-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}"
        note = " ".join(chance.choices(words, k=9))
        lines.append(
            f"{size:.3f},{str(owned).lower()},{seen},{note} {row},{chance.choice('xyz')},{3 * size + 10 * owned:.3f}"
        )
    return "\n".join(lines) + "\n"


@pytest.fixture
def watch(attacked: Gateway) -> Iterator[Watch]:
    """Looks at the gateway before and after."""
    found = Watch(attacked, MODELS)
    yield found
    found.unharmed()


@pytest.fixture
def client(attacked: Gateway) -> Iterator[Client]:
    found = attacked.client()
    yield found
    found.close()


def test_payloads_in_which_something_was_broken(watch: Watch, client: Client) -> None:
    chance = random.Random(11)
    statuses = set()
    for _ in range(PAYLOADS):
        path, body = payload(chance, MODELS)
        answer = client.ask("POST", path, body)
        check(answer, (path, body))
        statuses.add(answer.status)
    assert {200, 400, 422} <= statuses <= {200, 400, 422}


def test_binary_tensors_of_any_size_and_shape(watch: Watch, client: Client) -> None:
    chance = random.Random(12)
    for _ in range(BINARIES):
        body, headers = binary(chance)
        answer = client.ask("POST", "/v2/models/churn/infer", body, headers)
        check(answer, (body, headers))
        assert answer.status in (200, 400, 422)


def test_bytes_that_are_hardly_http(watch: Watch) -> None:
    chance = random.Random(13)
    statuses = set()
    for _ in range(STREAMS):
        data = stream(chance)
        for answer in exchange(watch.gateway, data):
            check(answer, data)
            statuses.add(answer.status)
    assert {200, 400, 404, 405} <= statuses


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_what_servers_may_read_differently_is_refused_whole(attacked: Gateway, name: str) -> None:
    data, status = AMBIGUOUS[name]
    answers = exchange(attacked, data)
    assert [answer.status for answer in answers] == [status], answers
    assert answers[0].headers["connection"] == "close"


def test_what_schemathesis_makes_of_the_description(watch: Watch, client: Client) -> None:
    """Requests that fit the gateway's own description, and requests that do not, in every place where they might."""
    import schemathesis
    from hypothesis import HealthCheck, given, settings
    from schemathesis.checks import not_a_server_error
    from schemathesis.generation import GenerationMode
    from schemathesis.specs.openapi import checks

    wanted = [
        not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_schema_conformance,
        checks.negative_data_rejection,
    ]
    base = f"http://{watch.gateway.address}"
    schema = schemathesis.openapi.from_dict(client.ask("GET", "/openapi.json").json)
    statuses: dict[str, set[int]] = {}
    for found in schema.get_all_operations():
        operation = found.ok()
        modes = [GenerationMode.POSITIVE, *([GenerationMode.NEGATIVE] if operation.method == "post" else [])]
        for mode in modes:

            @settings(max_examples=CASES, deadline=None, derandomize=True, suppress_health_check=[*HealthCheck])
            @given(operation.as_strategy(generation_mode=mode))
            def ask(case: schemathesis.Case) -> None:
                response = case.call(base_url=base)
                case.validate_response(response, checks=wanted)
                headers = {name.lower(): ", ".join(values) for name, values in response.headers.items()}
                check(Answer(response.status_code, headers, response.content), case.body)
                statuses.setdefault(case.operation.path, set()).add(response.status_code)

            ask()
    assert statuses["/v1/models/mixed/predict"] >= {200, 422}
    assert statuses["/v1/models/churn/invocations"] >= {200, 422}
    assert set.union(*statuses.values()) <= {200, 400, 422}
