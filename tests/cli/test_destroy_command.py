from __future__ import annotations

import json
from pathlib import Path

from cli_project import edit
from command_line import Call


def test_a_model_is_ended_after_it_was_shown_and_agreed_to(applied: Path, call: Call) -> None:
    asked = call(applied, "destroy", "churn")
    assert asked.code == 1 and "version 1 is live" in asked.out and "= registry   versions 1" in asked.out
    assert "nobody can be asked here" in asked.err
    assert len(json.loads(call(applied, "status", "--json").out)["models"]) == 1
    assert "churn is destroyed." in call(applied, "destroy", "churn", "--auto-approve").out
    assert json.loads(call(applied, "status", "--json").out)["models"] == []
    assert call(applied, "audit", "verify").code == 0
    assert "+ train" in call(applied, "plan").out
    assert "the state knows no model churn" in call(applied, "destroy", "churn", "--auto-approve").err


def test_a_protected_model_stays_also_without_its_spec(applied: Path, call: Call) -> None:
    spec = applied / "specs/churn.yaml"
    edit(spec, "  name: churn\n", "  name: churn\n  lifecycle: {prevent_destroy: true}\n")
    assert "Nothing to do" in call(applied, "plan").out
    assert call(applied, "apply", "--auto-approve").code == 0
    text = spec.read_text()
    spec.unlink()
    refused = call(applied, "destroy", "churn", "--auto-approve")
    assert refused.code == 1 and "protected by lifecycle.prevent_destroy" in refused.err
    spec.write_text(text.replace("true", "false"))
    assert "protected" in call(applied, "destroy", "churn", "--auto-approve").err, "not before it was applied"
    assert call(applied, "apply", "--auto-approve").code == 0
    assert call(applied, "destroy", "churn", "--auto-approve").code == 0
