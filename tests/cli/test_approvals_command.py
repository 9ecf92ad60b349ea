"""Approvals and policies at the deploy step, as a person meets them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from cli_project import edit
from command_line import Call

CANARY = "{strategy: canary, initial_traffic: 10%}"
EVERY_DAY = '["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]'
NEVER = f"policies:\n  - {{name: quiet-days, deny: 'now.weekday in {EVERY_DAY}', message: not on any day}}\n"


def asking(project: Path, terms: str, strategy: str = "recreate") -> None:
    edit(project / "specs/churn.yaml", CANARY, f"{{strategy: {strategy}, approval: {terms}}}")


def token(project: Path, call: Call, name: str, purpose: str = "approve") -> str:
    made = call(project, "token", "create", "--for", purpose, "--name", name, "--json")
    return str(json.loads(made.out)["token"])


def live(project: Path, call: Call) -> int:
    return int(json.loads(call(project, "status", "--json").out)["models"][0]["endpoint"]["generation"])


def test_a_release_waits_for_two_people_and_then_goes_live(
    applied: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = live(applied, call)
    edit(applied / "specs/churn.yaml", "C: 1.0", "C: 0.5")
    asking(applied, "{by: [ana, ben, cleo], count: 2, expires: 7d}")
    assert "recreate after 2 approvals of ana, ben, cleo" in call(applied, "plan").out
    held = call(applied, "apply", "--auto-approve")
    assert held.code == 0 and "deploy waits for approval: 0 of 2 approvals" in held.out
    assert "Whoever may, agrees by: engine approve churn" in held.out
    planned = call(applied, "plan")
    waits = "deploy      waits for approval  0 of 2 approvals; it awaits ana or ben or cleo"
    assert waits in planned.out and "Nothing to run. Held before going live: churn." in planned.out
    document = json.loads(call(applied, "plan", "--json").out)["models"][0]["actions"][-1]
    assert (document["action"], document["reason"]["code"]) == ("wait", "approval")
    assert "deploy waits for approval" in call(applied, "apply", "--auto-approve").out
    secrets = {name: token(applied, call, name) for name in ("ana", "ben", "dora")}
    monkeypatch.setenv("ENGINE_APPROVAL_TOKEN", secrets["dora"])
    assert "dora is not among those who may approve it" in call(applied, "approve", "churn").err
    monkeypatch.setenv("ENGINE_APPROVAL_TOKEN", token(applied, call, "ci", "control"))
    assert "this is no token for approvals" in call(applied, "approve", "churn").err
    monkeypatch.setenv("ENGINE_APPROVAL_TOKEN", secrets["ana"])
    first = call(applied, "approve", "churn", "--reason", "looked at it")
    assert first.code == 0 and "1 of 2 approvals (ana); it awaits ben or cleo" in first.out
    assert "1 of 2 approvals (ana)" in call(applied, "plan").out
    assert "version 2 waits for approval: 1 of 2 approvals (ana); it awaits ben or cleo" in call(applied, "status").out
    assert live(applied, call) == before
    (applied / "ben.token").write_text(secrets["ben"] + "\n")
    second = json.loads(call(applied, "approve", "churn", "--token-file", "ben.token", "--json").out)
    assert second["enough"] and second["approvals"] == ["ana", "ben"] and second["artifact"].startswith("blake3:")
    assert call(applied, "apply", "--auto-approve").code == 0
    assert live(applied, call) == before + 1
    assert "Nothing to do" in call(applied, "plan").out
    audit = [(e["actor"], e["event"]) for e in json.loads(call(applied, "audit", "list", "--json").out)["events"]]
    assert ("ana", "release approved") in audit and ("ben", "release approved") in audit
    assert call(applied, "audit", "verify").code == 0


def test_a_rejection_needs_a_reason_and_holds(candidate: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    asking(candidate, "required")
    monkeypatch.setenv("ENGINE_APPROVAL_TOKEN", token(candidate, call, "ana"))
    call(candidate, "apply", "--auto-approve")
    assert "a rejection has a reason" in call(candidate, "reject", "churn").err
    assert "rejected by ana: unfair" in call(candidate, "reject", "churn", "--reason", "unfair").out
    assert "waits for approval  rejected by ana: unfair" in call(candidate, "plan").out
    assert "1 of 1 approval (ana)" in call(candidate, "approve", "churn", "--reason", "mended").out
    assert "~ deploy" in call(candidate, "plan").out


def test_nobody_is_taken_at_their_word(candidate: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENGINE_APPROVAL_TOKEN", raising=False)
    assert "version 2 of churn needs no approval" in call(candidate, "approve", "churn").err
    asking(candidate, "required")
    call(candidate, "apply", "--auto-approve")
    assert "it is not known who speaks" in call(candidate, "approve", "churn").err
    for wrong in ("nonsense", token(candidate, call, "gone")):
        call(candidate, "token", "revoke", "gone")
        monkeypatch.setenv("ENGINE_APPROVAL_TOKEN", wrong)
        assert "this is no token for approvals" in call(candidate, "approve", "churn").err


def test_a_signed_commit_speaks_for_who_signed_it(candidate: Path, call: Call) -> None:
    asking(candidate, "{by: [ana@example.org], independent: true}")
    call(candidate, "apply", "--auto-approve")
    artifact = json.loads(call(candidate, "show", "churn@2", "--json").out)["release"]["artifact"]["digest"]
    git = repository(candidate)
    said = f"Looked at it\n\nApproves: churn {artifact}"
    git("commit", "-q", "--allow-empty", "-m", said)
    assert "has no signature that git calls good" in call(candidate, "approve", "churn", "--commit", "HEAD").err
    git("commit", "-q", "--allow-empty", "-S", "-m", "Approves: churn blake3:0123")
    assert (
        f"A line of its message is: Approves: churn {artifact}"
        in call(candidate, "approve", "churn", "--commit", "HEAD").err
    )
    git("commit", "-q", "--allow-empty", "-S", "-m", said)
    other = call(candidate, "reject", "churn", "--commit", "HEAD", "--reason", "no")
    assert "does not speak of this artifact" in other.err
    agreed = json.loads(call(candidate, "approve", "churn", "--commit", "HEAD", "--json").out)
    assert (agreed["by"], agreed["reason"], agreed["enough"]) == ("ana@example.org", "Looked at it", True)
    assert agreed["method"].startswith("commit ")
    git("config", "gpg.ssh.allowedSignersFile", "/dev/null")
    assert "has no signature" in call(candidate, "approve", "churn", "--commit", "HEAD").err
    assert "git cannot show the commit" in call(candidate, "approve", "churn", "--commit", "nowhere").err


def repository(folder: Path):  # type: ignore[no-untyped-def]
    """git in a new repository that signs with a key of ana's, and trusts it."""

    def git(*words: str) -> None:
        subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True)

    key = folder / "ana_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    (folder / "signers").write_text(f"ana@example.org {key.with_suffix('.pub').read_text()}")
    git("init", "-q")
    for name, value in {
        "user.name": "Eve",
        "user.email": "eve@example.org",
        "gpg.format": "ssh",
        "user.signingkey": str(key),
        "gpg.ssh.allowedSignersFile": str(folder / "signers"),
    }.items():
        git("config", name, value)
    return git


def test_a_policy_holds_the_deploy_step_at_its_time(applied: Path, call: Call) -> None:
    before = live(applied, call)
    edit(applied / "specs/churn.yaml", CANARY, "{strategy: recreate}")
    (applied / "engine.yaml").write_text(NEVER)
    planned = call(applied, "plan").out
    assert "deploy      held by policy" in planned and "policy quiet-days: not on any day (now.weekday is " in planned
    held = call(applied, "apply", "--auto-approve")
    assert held.code == 3 and "deploy waits for what a policy allows: policy quiet-days" in held.out + held.err
    assert "engine.yaml:2" in held.out + held.err
    assert live(applied, call) == before
    (applied / "engine.yaml").write_text(NEVER.replace("not on any day}", "said only, severity: warning}"))
    assert call(applied, "apply", "--auto-approve").code == 0
    assert live(applied, call) == before + 1


def test_a_rule_about_the_release_reads_the_models_own_file(applied: Path, call: Call) -> None:
    edit(applied / "specs/churn.yaml", CANARY, "{strategy: recreate}")
    rules = 'name: safe-files, deny: release.format == "skops" or release.metrics.accuracy < 0.5'
    (applied / "engine.yaml").write_text(f"policies: [{{{rules}, message: not this format}}]")
    assert 'policy safe-files: not this format (release.format is "skops")' in call(applied, "plan").out


def test_a_policy_keeps_a_candidate_from_more_traffic(candidate: Path, call: Call) -> None:
    (candidate / "engine.yaml").write_text(NEVER)
    refused = call(candidate, "promote", "churn")
    assert refused.code == 1 and "policy quiet-days: not on any day" in refused.err
    assert "version 1 is live, candidate version 2" in call(candidate, "status").out
    assert call(candidate, "abort", "churn", "--reason", "not today").code == 0


def test_the_controller_waits_for_a_policy_and_goes_on_by_itself(applied: Path, call: Call) -> None:
    before = live(applied, call)
    edit(applied / "specs/churn.yaml", CANARY, "{strategy: recreate}")
    (applied / "engine.yaml").write_text(NEVER)
    assert "deploy waits for what a policy allows" in (said := call(applied, "controller", "--once")).out + said.err
    assert live(applied, call) == before
    (applied / "engine.yaml").write_text("")
    call(applied, "controller", "--once")
    assert live(applied, call) == before + 1
