"""Which releases are kept, and going back to one that is."""

from __future__ import annotations

import json
import sqlite3
from datetime import datetime, timezone
from pathlib import Path

from command_line import Call
from hypothesis import given
from hypothesis import strategies as st

from engine.core.records import Artifact, Endpoint, Release
from engine.core.retention import kept_releases

NOW = datetime(2026, 11, 24, tzinfo=timezone.utc)


def release(version: int, day: int) -> Release:
    return Release("m", version, str(version), "r", "", Artifact("d", 1, "m"), {}, f"2026-11-{day:02}T00:00:00.000000Z")


def test_a_rule_keeps_the_newest_and_the_young() -> None:
    releases = [release(version, version * 2) for version in range(1, 11)]  # version 10 is of 20 November
    live = Endpoint("m", 4, stable=3, candidate=5, previous=1)
    assert kept_releases(releases, None, live, NOW) == set(range(1, 11))
    assert kept_releases(releases, {"releases": 2, "duration": None}, live, NOW) == {1, 3, 5, 9, 10}
    assert kept_releases(releases, {"releases": None, "duration": 7 * 86_400}, None, NOW) == {9, 10}
    assert kept_releases(releases, {"releases": 1, "duration": 7 * 86_400}, live, NOW) == {1, 3, 5, 9, 10}


@given(
    st.integers(0, 12),
    st.integers(1, 12),
    st.lists(st.none() | st.integers(1, 12), min_size=3, max_size=3, unique=True),
)
def test_what_serves_is_kept(number: int, keep: int, roles: list[int | None]) -> None:
    releases = [release(version, 1) for version in range(1, number + 1)]
    stable, candidate, previous = roles
    kept = kept_releases(
        releases, {"releases": keep, "duration": None}, Endpoint("m", 1, stable, candidate, previous=previous), NOW
    )
    assert {role for role in roles if role is not None} <= kept
    assert {each.version for each in releases[-keep:]} <= kept


def test_going_back_to_a_release_that_is_kept(released: Path, call: Call) -> None:
    spec = released / "specs/churn.yaml"
    spec.write_text(spec.read_text().replace("owner: growth", "owner: growth\n  retention: {releases: 1}"))
    assert call(released, "plan", "--detailed-exitcode").code == 0, "it runs nothing"
    told = json.loads(call(released, "state", "gc", "--dry-run", "--json").out)
    assert told["retired"] == [], "version 1 served before: a rollback would bring it back"
    with sqlite3.connect(released / ".engine/state.db") as state:
        state.execute("UPDATE endpoints SET previous = NULL")  # as if it had never been promoted
    assert json.loads(call(released, "state", "gc", "--dry-run", "--json").out)["retired"] == ["churn@1"]
    assert json.loads(call(released, "state", "gc", "--json").out)["bytes"] > 0
    refused = call(released, "rollback", "churn", "--to", "1")
    assert refused.code == 1 and "not kept any more" in refused.err and "Releases: 2" in refused.err
    shown = json.loads(call(released, "show", "churn@1", "--lineage", "--json").out)  # what it was stays on record
    assert shown["data"]["dvc"]["revision"] == "v1" and shown["metrics"]["accuracy"]["value"] > 0.6
    gone = call(released, "reproduce", "churn@1")
    assert gone.code == 1 and "missing" in gone.err
    assert call(released, "reproduce", "churn@9").code == 1
