"""`engine trigger`: a person's request waits in the inbox, and says what acts on it."""

from __future__ import annotations

import json
from pathlib import Path

from command_line import Call

from engine.app.workspace import open_workspace


def test_a_request_waits_in_the_inbox(applied: Path, call: Call) -> None:
    came = call(applied, "trigger", "churn", "--reason", "prices changed", "--event", "prices", "--id", "a-1")
    assert (came.code, "engine up" in came.out, "a-1" in came.out) == (0, True, True)
    again = json.loads(call(applied, "trigger", "churn", "--reason", "again", "--id", "a-1", "--json").out)
    assert again == {"format_version": 1, "accepted": False, "id": "a-1", "model": "churn"}
    assert "known already" in call(applied, "trigger", "churn", "--reason", "again", "--id", "a-1").out
    assert json.loads(call(applied, "trigger", "churn", "--reason", "again", "--json").out)["accepted"] is True
    reader = open_workspace(applied).reader
    assert [(event.event, event.reason) for event in reader.pending("churn")] == [
        ("prices", "prices changed"),
        ("", "again"),
    ]
    assert "@" in reader.pending("churn")[0].actor
    reader.close()
    unknown = call(applied, "trigger", "chrn", "--reason", "x")
    assert (unknown.code, "Did you mean churn?" in unknown.err) == (1, True)
    assert call(applied, "trigger", "churn").code == 1
    for wrong in (["--reason", ""], ["--reason", "x", "--id", "a b"], ["--reason", "x", "--event", "a b"]):
        assert call(applied, "trigger", "churn", *wrong).code == 1
