"""Deliveries of other systems: only what was signed with the secret, now, and once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from controlled import SECRET, Controlled, payload, signed

from engine.app.workspace import Workspace
from engine.errors import UsageError

BODY = payload(ref="refs/heads/main", sender={"login": "ana"})
GITHUB = {"x_github_delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958", "x_github_event": "push"}


@pytest.fixture
def hooks(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Controlled]:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    (project / "engine.yaml").write_text("webhooks: {secret: '${env:HOOK_SECRET}'}\n")
    with Controlled(project) as control:
        yield control


def test_a_delivery_as_github_signs_it(hooks: Controlled) -> None:
    answer = hooks.deliver(BODY, **GITHUB, **signed(BODY))
    assert (answer.status, answer.json["accepted"]) == (202, True)
    again = hooks.deliver(BODY, **GITHUB, **signed(BODY))
    assert (again.status, again.json["accepted"]) == (200, False)
    other = {**GITHUB, "x_github_delivery": "another"}
    assert hooks.deliver(BODY, **other, **signed(BODY)).status == 202
    found = [(event.kind.value, event.event, event.reason, event.actor) for event in hooks.events()]
    assert found == [("webhook", "push", "refs/heads/main", "webhook:ana")] * 2
    ping = hooks.deliver(BODY, **{**GITHUB, "x_github_event": "ping", "x_github_delivery": "p"}, **signed(BODY))
    assert (ping.status, ping.json, len(hooks.events())) == (200, {"accepted": False, "ping": True}, 2)


def test_a_delivery_with_a_timestamp(hooks: Controlled) -> None:
    now = int(time.time())
    engine = {"x_engine_delivery": "load-7", "x_engine_event": "loaded"}
    assert hooks.deliver(BODY, **engine, **signed(BODY, now)).status == 202
    assert hooks.deliver(BODY, **engine, **signed(BODY, now + 1)).json["accepted"] is False, "sent again, signed anew"
    replayed = hooks.deliver(BODY, **{**engine, "x_engine_delivery": "load-8"}, **signed(BODY, now))
    assert (replayed.status, "before" in replayed.json["error"]) == (409, True)
    for stamp in (now - 301, now + 310, 0):
        stale = hooks.deliver(BODY, x_engine_delivery=f"at-{stamp}", **signed(BODY, stamp))
        assert (stale.status, "timestamp" in stale.json["error"]) == (401, True)
    [event] = hooks.events()
    assert (event.id, event.event) == ("engine:load-7", "loaded")


def test_what_is_forged_is_refused(hooks: Controlled) -> None:
    now = int(time.time())
    good, timed = signed(BODY), signed(BODY, now)
    engine = {"x_engine_delivery": "1"}
    for headers in (
        {},
        {"x_hub_signature_256": ""},
        {"x_hub_signature_256": "sha256="},
        {"x_hub_signature_256": good["x_hub_signature_256"][:-1] + "g"},
        {"x_hub_signature_256": good["x_hub_signature_256"].replace("sha256=", "sha1=")},
        signed(BODY, secret="another secret of some length"),
        signed(BODY + b" "),
        {**timed, "x_engine_timestamp": str(now + 1)},  # a timestamp that was moved
        {**good, "x_engine_timestamp": str(now)},  # one that was put there
        {"x_hub_signature_256": timed["x_hub_signature_256"]},  # one that was taken away
    ):
        assert hooks.deliver(BODY, **GITHUB, **engine, **headers).status == 401, headers
    # What was signed with its timestamp is no body of its own.
    inside = b"%d.%s" % (now, BODY)
    assert hooks.deliver(inside, **GITHUB, x_hub_signature_256=timed["x_hub_signature_256"]).status == 400
    for body in (b"[]", b"7", b"{", b""):
        assert hooks.deliver(body, **GITHUB, **signed(body)).status == 400
    for headers in ({}, {"x_github_delivery": "a b"}, {**GITHUB, "x_github_event": "a b"}):
        assert hooks.deliver(BODY, **headers, **good).status == 400
    assert hooks.deliver(BODY, name="nobody", **good).status == 400
    assert hooks.deliver(BODY, name="nobody", **GITHUB).status == 401, "who cannot sign learns no names"
    assert hooks.deliver(BODY, name="nobody", **GITHUB, **good).status == 404
    assert hooks.deliver(BODY, **GITHUB, **good, content_type="application/x-www-form-urlencoded").status == 415
    assert hooks.deliver(b"x" * (5 << 20) + b"x", **GITHUB).status == 413
    assert hooks.events() == []


def test_a_hundred_equal_deliveries_at_once_are_one_event(hooks: Controlled) -> None:
    now = int(time.time())
    engine = {"x_engine_delivery": "load-7"}
    with ThreadPoolExecutor(50) as pool:
        github = pool.map(lambda _: hooks.deliver(BODY, **GITHUB, **signed(BODY)), range(100))
        statuses = [answer.status for answer in github]
        timed = [
            answer.status
            for answer in pool.map(lambda _: hooks.deliver(BODY, **engine, **signed(BODY, now)), range(100))
        ]
    for found in (statuses, timed):
        assert (found.count(202), found.count(200)) == (1, 99)
    assert len(hooks.events()) == 2


def test_a_secret_that_changed_or_is_not_there(
    hooks: Controlled, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_SECRET", "another secret of deliveries")
    assert hooks.deliver(BODY, **GITHUB, **signed(BODY)).status == 401
    assert hooks.deliver(BODY, **GITHUB, **signed(BODY, secret="another secret of deliveries")).status == 202
    monkeypatch.delenv("HOOK_SECRET")
    away = hooks.deliver(BODY, **GITHUB, **signed(BODY))
    assert (away.status, b"HOOK_SECRET" in away.body) == (503, False)
    from engine.app.serving import ControlAt, control_beside
    from engine.serving.control import control_settings

    for value, message in ((None, "HOOK_SECRET is not set"), ("short", "shorter than 16")):
        if value is not None:
            monkeypatch.setenv("HOOK_SECRET", value)
        with pytest.raises(UsageError, match=message):
            control_beside(Workspace(project), ControlAt(control_settings("127.0.0.1", 0)), insecure=False)
