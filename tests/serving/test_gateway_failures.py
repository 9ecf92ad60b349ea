"""Models that raise, hang, die or give no number; processes that are killed; the end of the gateway."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from served import MISCHIEF, ROW, TWIN, Answer, Gateway, is_alive, set_endpoint

Serve = Callable[..., Gateway]
KILLS = 100 if os.environ.get("ENGINE_SOAK") == "1" else 6
RAISE, NAN, HANG, DIE, SLOW = -1, -2, -3, -4, -5


def test_what_a_candidate_fails_the_stable_release_answers(live: Gateway) -> None:
    gateway = live
    set_endpoint(gateway.folder, candidate=MISCHIEF, weight=0.99)
    gateway.effective(stable=1, candidate=MISCHIEF, weight=0.99)
    client = gateway.client()
    erred = gateway.metric("model_errors_total", role="stable", release="1")
    roles = {str(n): client.predict(headers={"x-routing-key": str(n)}).json["role"] for n in range(9)}
    key = next(key for key, role in roles.items() if role == "candidate")
    for wish in (RAISE, NAN, HANG, DIE, RAISE):
        answer = client.predict({**ROW, "months": wish}, {"x-routing-key": key})
        assert (answer.status, answer.json["version"], answer.json["role"]) == (200, 1, "stable")
        # It is back after a kill: asked itself, for the file that says what is in effect may be a second old.
        gateway.wait(lambda: client.predict(headers={"x-engine-release": str(MISCHIEF)}).status == 200)
        gateway.effective(stable=1, candidate=MISCHIEF, weight=0.99)
    assert client.predict({"months": "x"}, {"x-routing-key": key}).status == 422
    for _ in range(3):
        assert client.predict(headers={"x-routing-key": key}).json["version"] == MISCHIEF
    gateway.wait(lambda: sum(tally.errors for tally in gateway.tallies()) == 5)
    failed = [tally for tally in gateway.tallies() if tally.errors]
    assert {(tally.role, tally.version, tally.weight) for tally in failed} == {("candidate", MISCHIEF, 0.99)}
    assert sum(tally.fallbacks for tally in failed) == 5
    assert sum(tally.error_keys for tally in failed) == 1  # one key, one event
    assert gateway.metric("model_errors_total", role="stable", release="1") == erred


def test_a_failing_stable_release_fails_only_what_it_cannot_answer(live: Gateway) -> None:
    gateway = live
    set_endpoint(gateway.folder, stable=MISCHIEF)
    gateway.effective(stable=MISCHIEF)
    answers: dict[int, Answer] = {}

    def ask(number: int, wish: int) -> None:
        answers[number] = gateway.client().predict({**ROW, "months": wish})

    # While one is answered slowly the others wait, and go to the model in one batch.
    wishes = [SLOW, *[ROW["months"]] * 6, RAISE, NAN, DIE]
    threads = [threading.Thread(target=ask, args=pair) for pair in enumerate(wishes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answers[number].status for number in range(9)] == [200] * 7 + [500] * 2
    assert answers[9].status in (500, 503)  # on a slow machine the deadline comes before the second death
    assert all("secret" not in answer.body.decode() for answer in answers.values())
    assert gateway.client().predict({**ROW, "months": HANG}).status == 504
    assert gateway.client().predict().status == 200
    gateway.wait(lambda: sum(tally.errors for tally in gateway.tallies()) == 4)


def test_no_request_fails_when_the_processes_are_killed(live: Gateway) -> None:
    """However often, and of the stable release as of the candidate: who was ready is back long before the deadline."""
    gateway = live
    set_endpoint(gateway.folder, candidate=TWIN, weight=0.5)
    gateway.effective(stable=1, candidate=TWIN, weight=0.5)
    stop, statuses = threading.Event(), []

    def load() -> None:
        client = gateway.client()
        while not stop.wait(0.003):
            statuses.append(client.predict().status)

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    longest = 0.0
    for _ in range(KILLS):
        killed = {version: gateway.model_pid(version) for version in (1, TWIN)}
        for pid in killed.values():
            os.kill(pid, signal.SIGKILL)
        begun = time.monotonic()
        gateway.wait(lambda: all(gateway.model_pid(version) not in (0, killed[version]) for version in killed))  # noqa: B023
        longest = max(longest, time.monotonic() - begun)
        answered = len(statuses)
        gateway.wait(lambda: len(statuses) > answered + 10)  # noqa: B023
    stop.set()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200}
    assert longest < gateway.settings["deadline"]


def test_it_drains_and_leaves_nothing_behind(project: Path, serve: Serve) -> None:
    set_endpoint(project, stable=MISCHIEF)
    gateway = serve().ready()
    model = gateway.model_pid(MISCHIEF)
    idle = gateway.client()
    assert idle.ask("GET", "/healthz").status == 200
    found: list[Answer] = []
    thread = threading.Thread(target=lambda: found.append(gateway.client().predict({**ROW, "months": SLOW})))
    thread.start()
    gateway.wait(lambda: gateway.metric("model_requests_in_flight") == 1)
    assert gateway.stop() == 0
    thread.join()
    assert found[0].status == 200
    assert found[0].headers["connection"] == "close"
    assert not is_alive(model)
    assert not (gateway.serving / "status.json").exists()
    assert sum(tally.requests for tally in gateway.tallies()) == 1


def test_model_processes_die_with_the_gateway(project: Path, serve: Serve) -> None:
    gateway = serve().ready()
    model = gateway.model_pid(1)
    status = Path(f"/proc/{model}/status").read_text()
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    assert os.getsid(model) == model
    gateway.process.kill()
    gateway.process.wait()
    deadline = 200
    while is_alive(model) and deadline:
        threading.Event().wait(0.05)
        deadline -= 1
    assert not is_alive(model)
