"""Passes of a controller over a real state: what is written, who is told, and what a kill at any point leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from alerted import controllers, passes, project, ran

from engine.app.workspace import Workspace
from engine.core.records import RunStatus, alerts_of
from engine.failpoints import FAILPOINTS
from engine.runtime.deliver import Again
from engine.testing.listening import WebServer

POINTS = [name for name in FAILPOINTS if name.startswith("alert.")]


def test_an_alert_is_told_once_and_its_end_too(web: WebServer, tmp_path: Path) -> None:
    with passes(project(tmp_path / "p", f"webhook: {web.url}"), waits=True) as one:
        came = one()
        assert isinstance(came, Again) and 9 < came.seconds <= 10, "it waits for what may come together"
        assert not web.received
        one(10)
        for _ in range(3):
            one(20)
        [told] = web.received
        assert told.json["alerts"][0]["summary"] == "run run1 failed: train: no memory"
        ran(one.workspace.root, RunStatus.DONE)
        one(300)
        assert [each.json["status"] for each in web.received] == ["firing", "resolved"]
        [record] = one.workspace.store.alerts("churn")
        assert record.status == "resolved"


def test_a_receiver_that_fails_is_tried_later_and_keeps_no_other(web: WebServer, tmp_path: Path) -> None:
    gone = "name: gone, webhook: 'http://127.0.0.1:1/s3cret'"
    with passes(project(tmp_path / "p", gone, f"webhook: {web.url}")) as one:
        one()
        assert len(web.received) == 1
        told = {each.receiver: each for each in one.workspace.store.told("churn")}
        assert (told["gone"].failures, told["gone"].error) == (1, "the server did not answer (it refuses connections)")
        [grave] = [note for note in one.notes if note.grave]
        assert "gone was not told" in grave.text and "s3cret" not in grave.text
        one(600)
        assert {each.receiver: each.failures for each in one.workspace.store.told()} == {"gone": 2, "webhook": 0}
        assert len(web.received) == 1


def test_a_secret_that_is_not_there_is_a_failure_to_be_told(tmp_path: Path) -> None:
    with passes(project(tmp_path / "p", "webhook: '${env:NOT_THERE}'")) as one:
        one()
        [told] = one.workspace.store.told("churn")
        assert told.error == "the environment variable NOT_THERE is not set"


def test_two_controllers_tell_once(web: WebServer, tmp_path: Path) -> None:
    folder = project(tmp_path / "p", f"webhook: {web.url}")
    with passes(folder) as one, passes(folder) as other:
        with one.leases.hold_alone(alerts_of("churn")):
            assert isinstance(other(), Again)
            assert not web.received, "somebody else is at it"
        one()
        other()
    assert len(web.received) == 1


@pytest.mark.parametrize("restarted", [False, True])
def test_what_fires_of_a_model_is_over_when_its_spec_is_removed(
    web: WebServer, tmp_path: Path, restarted: bool
) -> None:
    folder = project(tmp_path / "p", f"webhook: {web.url}")
    spec = folder / "specs/churn.yaml"
    with controllers(folder) as (one, later):
        one.alerting.run_once()
        later(10)
        one.alerting.run_once()
        spec.rename(folder / "specs/renamed.yaml")
        later(300)
        one.look()
        one.alerting.run_once()
        assert [each.json["status"] for each in web.received] == ["firing"], "a file that is renamed is not removed"
        (folder / "specs/renamed.yaml").unlink()
        one.look()
        one.alerting.run_once()
        assert len(web.received) == 1, "it may come back at once, as when a branch is checked out"
        if not restarted:
            later(10)
            one.look()
            one.alerting.run_once()
    if restarted:
        with controllers(folder, 320) as (another, later):
            later(10)
            another.look()
            another.alerting.run_once()
    [_, over] = web.received
    assert over.json["status"] == "resolved"
    said = "run run1 failed: train: no memory (no longer watched: its spec was removed)"
    assert [each["summary"] for each in over.json["alerts"]] == [said]
    assert [each.status for each in Workspace(folder).store.alerts()] == ["resolved"]


@pytest.mark.parametrize("why", ["it is told of others alone", "one cannot be read", "there is no folder"])
def test_a_controller_that_does_not_know_all_specs_leaves_other_alerts_alone(
    web: WebServer, tmp_path: Path, why: str
) -> None:
    folder = project(tmp_path / "p", f"webhook: {web.url}")
    with passes(folder) as one:
        one()
    other = folder / "more/other.yaml"
    other.parent.mkdir()
    other.write_text("model_spec: {name: other}\n")
    if why == "one cannot be read":
        (folder / "specs/churn.yaml").write_text("model_spec: {name: churn, mistake: 1}\n")
    if why == "there is no folder":
        (folder / "specs").rename(folder / "elsewhere")
    with controllers(folder, 400, paths=[str(other)] if "others" in why else ()) as (some, later):
        later(10)
        some.look()
        some.alerting.run_once()
    assert [each.status for each in Workspace(folder).store.alerts("churn")] == ["firing"]
    assert len(web.received) == 1


@pytest.mark.parametrize("point", POINTS)
def test_killed_anywhere_nothing_is_lost_and_what_comes_twice_has_one_id(
    web: WebServer, tmp_path: Path, point: str
) -> None:
    folder = project(tmp_path / "p", f"webhook: {web.url}")
    killed = subprocess.run(
        [sys.executable, "-m", "engine", "-C", str(folder), "controller", "--once"],
        env={**os.environ, "ENGINE_FAILPOINTS": f"{point}=kill"},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    workspace = Workspace(folder)
    assert len(workspace.store.alerts("churn")) == 1
    workspace.close()
    with passes(folder) as one:
        one()
        one()
    assert len(web.received) == (2 if point == "alert.sent" else 1)
    assert len({each.headers["idempotency-key"] for each in web.received}) == 1
