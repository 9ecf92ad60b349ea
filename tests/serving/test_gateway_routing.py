"""Who answers: splits, sticky keys, forced releases, and changes of the endpoint under load."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

from served import ALTERED, CHANGED, ROW, TWIN, Gateway, damage_state, rewind, set_endpoint

from engine.app.serving import StateTruth
from engine.app.workspace import open_workspace
from engine.serving.desired import save
from engine.serving.prediction_log_files import read_log

Serve = Callable[..., Gateway]


def versions(gateway: Gateway, keys: list[str]) -> dict[str, int]:
    """Which release answered each key."""
    client = gateway.client()
    found = {}
    for key in keys:
        answer = client.predict(headers={"x-routing-key": key})
        assert answer.status == 200
        found[key] = answer.json["version"]
    return found


def test_keys_are_split_by_weight_and_stay_with_the_candidate(live: Gateway) -> None:
    began = datetime.now(timezone.utc).isoformat(timespec="milliseconds")[:23]
    set_endpoint(live.folder, candidate=TWIN, weight=0.01)
    gateway = live
    keys = [f"key {number}" for number in range(600)]
    before: set[str] = set()
    for weight in (0.01, 0.1, 0.5):
        if weight != 0.01:
            set_endpoint(live.folder, weight=weight)
        gateway.effective(stable=1, candidate=TWIN, weight=weight)
        found = versions(gateway, keys)
        assert found == versions(gateway, keys)
        saw = {key for key, version in found.items() if version == TWIN}
        margin = 4 * math.sqrt(len(keys) * weight * (1 - weight))
        assert abs(len(saw) - weight * len(keys)) <= margin
        assert before <= saw
        before = saw
    set_endpoint(live.folder, stable=TWIN, candidate=None, weight=0.0)
    gateway.effective(stable=TWIN)
    assert set(versions(gateway, keys[:20]).values()) == {TWIN}
    gateway.wait(lambda: gateway.model()["releases"].keys() == {str(TWIN)})
    gateway.wait(lambda: sum(tally.requests for tally in gateway.tallies()) == 3620)
    first_seen = sum(tally.keys for tally in gateway.tallies() if tally.weight > 0)
    assert first_seen == len(keys)  # a key counts once, where it was when it came first
    scored = [tally for tally in gateway.tallies() if tally.requests]
    assert sum(tally.timed for tally in scored if tally.weight > 0) == len(keys)
    assert all(sum(tally.scores) == tally.timed for tally in scored)
    assert all(0 <= tally.latency_sum**2 <= tally.timed * tally.latency_squares * 1.001 for tally in scored)

    def ways() -> Counter[str]:
        rows = [row for row in read_log(gateway.serving, "churn") if row.at >= began]
        return Counter(row.way for row in rows if row.weight > 0)

    gateway.wait(lambda: ways().total() >= 6 * len(keys))  # the log is written within a second
    assert ways() == {"assigned": len(keys), "repeated": 5 * len(keys)}


def test_no_key_goes_back_while_the_weight_grows_under_load(live: Gateway) -> None:
    set_endpoint(live.folder, candidate=TWIN, weight=0.01)
    live.effective(stable=1, candidate=TWIN, weight=0.01)
    stop = threading.Event()
    seen: list[list[tuple[str, int]]] = [[], []]

    def ask(place: int) -> None:
        client = live.client()
        while not stop.is_set():
            for key in (f"{place} {number}" for number in range(40)):
                seen[place].append((key, client.predict(headers={"x-routing-key": key}).json["version"]))

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(2)]
    for thread in threads:
        thread.start()
    try:
        for weight in (0.1, 0.5, 0.9):
            set_endpoint(live.folder, weight=weight)
            live.effective(stable=1, candidate=TWIN, weight=weight)
            rounds = [len(each) for each in seen]
            live.wait(lambda: all(len(each) > before + 80 for each, before in zip(seen, rounds, strict=True)))  # noqa: B023
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    answered: dict[str, list[int]] = {}
    for key, version in seen[0] + seen[1]:
        answered.setdefault(key, []).append(version)
    assert all(each == sorted(each) for each in answered.values()), "who has seen the candidate keeps it"
    assert sum(each[0] == 1 and each[-1] == TWIN for each in answered.values()) > 40, "and others came to it"


def test_the_id_column_is_the_key_when_no_header_is(live: Gateway) -> None:
    set_endpoint(live.folder, candidate=TWIN, weight=0.5)
    gateway = live
    gateway.effective(stable=1, candidate=TWIN, weight=0.5)
    client = gateway.client()
    by_header = versions(gateway, [f"c{number}" for number in range(40)])
    assert set(by_header.values()) == {1, TWIN}
    split = {"columns": [*ROW, "customer"], "data": []}
    tensors = [
        {"name": name, "shape": [1], "datatype": "BYTES" if isinstance(value, str) else "INT64", "data": [value]}
        for name, value in ROW.items()
    ]
    for key, version in by_header.items():
        named = {**ROW, "customer": key}
        assert client.predict(named).json["version"] == version
        split["data"] = [list(named.values())]
        answer = client.ask("POST", "/invocations", {"dataframe_split": split})
        assert answer.headers["x-engine-release"] == str(version)
        id_tensor = {"name": "customer", "shape": [1], "datatype": "BYTES", "data": [key]}
        answer = client.ask("POST", "/v2/models/churn/infer", {"inputs": [*tensors, id_tensor]})
        assert answer.json["model_version"] == str(version)
    assert {client.predict().json["version"] for _ in range(60)} == {1, TWIN}  # neither: at random


def test_a_release_can_be_forced_and_leaves_no_evidence(live: Gateway) -> None:
    set_endpoint(live.folder, candidate=TWIN, weight=0.0)
    gateway = live
    gateway.wait(lambda: gateway.state(TWIN)["state"] == "ready")
    client = gateway.client()
    answer = client.predict(headers={"x-engine-release": str(TWIN)})
    assert (answer.json["version"], answer.json["role"]) == (TWIN, "idle")
    path = f"/v2/models/churn/versions/{TWIN}/infer"
    body = {"inputs": [{"name": "months", "shape": [1], "datatype": "INT64", "data": [3]}]}
    assert "calls: is missing" in client.ask("POST", path, body).json["error"]
    assert client.predict(headers={"x-engine-release": "99"}).status == 404
    assert client.predict(headers={"x-engine-release": "x"}).status == 404
    assert client.predict().json["version"] == 1
    gateway.wait(lambda: sum(tally.requests for tally in gateway.tallies()) == 1)


def test_no_request_fails_while_weights_change_and_releases_come_and_go(live: Gateway) -> None:
    gateway = live
    stop, failures, served = threading.Event(), [], Counter[int]()

    def load() -> None:
        client = gateway.client()
        while not stop.wait(0.004):
            answer = client.predict()
            if answer.status == 200:
                served[answer.json["version"]] += 1
            else:
                failures.append(answer)

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for weight in (0.1, 0.5, 0.9):
            set_endpoint(live.folder, candidate=TWIN, weight=weight)
            gateway.effective(stable=1, candidate=TWIN, weight=weight)
        set_endpoint(live.folder, stable=TWIN, candidate=None, weight=0.0)
        gateway.effective(stable=TWIN)
        set_endpoint(live.folder, stable=1)  # as a rollback does
        gateway.effective(stable=1)
        before = served[1]
        gateway.wait(lambda: served[1] > before + 5)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures
    assert served[1] and served[TWIN]


def test_what_is_not_ready_gets_no_traffic(live: Gateway) -> None:
    set_endpoint(live.folder, candidate=CHANGED, weight=0.9)
    gateway = live
    gateway.wait(lambda: gateway.state(CHANGED)["state"] == "failed")
    release = gateway.state(CHANGED)
    assert release["golden"] == "different"
    assert release["reason"].startswith("golden row")
    assert gateway.state(1)["golden"] == "same"
    assert set(versions(gateway, [str(number) for number in range(20)]).values()) == {1}
    after = set_endpoint(live.folder, stable=CHANGED, candidate=None, weight=0.0)  # nor does it take over
    gateway.wait(lambda: gateway.model()["generation"] == after.generation)
    assert gateway.client().predict().json["version"] == 1


def test_an_altered_model_is_not_loaded(live: Gateway) -> None:
    after = set_endpoint(live.folder, stable=ALTERED)
    live.wait(lambda: live.model()["generation"] == after.generation and live.state(ALTERED)["state"] == "failed")
    assert live.client().predict().json["version"] == 1
    answer = live.client().predict(headers={"x-engine-release": str(ALTERED)})
    assert answer.status == 404


def test_older_records_are_refused_and_lost_ones_remembered(project: Path, serve: Serve) -> None:
    set_endpoint(project, candidate=TWIN, weight=0.5)
    workspace = open_workspace(project)
    folder = workspace.serving
    folder.mkdir()
    save(folder / "routes.json", StateTruth(workspace).desired())  # as a gateway leaves it
    workspace.reader.close()
    rewind(project, 1, candidate=None, weight=0.0)
    gateway = serve().ready()
    log = project / "gateway.log"
    gateway.wait(lambda: "Older generations are refused: churn" in log.read_text())
    gateway.effective(stable=1, candidate=TWIN, weight=0.5)
    damage_state(project)
    gateway.wait(lambda: "cannot be read" in log.read_text())
    assert gateway.client().predict().status == 200
    gateway.stop()
    for path in (project / ".engine").glob("state.db*"):
        path.unlink()
    again = serve().ready()
    again.effective(stable=1, candidate=TWIN, weight=0.5)
    assert again.client().predict().status == 200
