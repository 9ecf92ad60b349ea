"""What whoever carries rollouts on can see: `status.json` and `evidence.db`, which the gateway left in the serving
folder, and what guardrails of the user's own give.

A status that is older than five seconds, or from the future, is none. What a gateway says of an older generation says
nothing of this rollout.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.core.rollout import Readiness, Rollout, Seen
from engine.core.verdict import Verdict

if TYPE_CHECKING:
    from engine.app.measuring import Measurements
    from engine.strategies.judging import Assessment

STATUS, EVIDENCE = "status.json", "evidence.db"
STALE_SECONDS = 5.0
_READINESS = {"ready": Readiness.READY, "failed": Readiness.FAILED}


class ServingFolder:
    """The port Observer over a gateway's files. Without `measurements` guardrails of the user's own say nothing."""

    def __init__(self, folder: Path, measurements: Measurements | None = None) -> None:
        self._folder = folder
        self._measurements = measurements

    def seen(self, rollout: Rollout, now: datetime) -> Seen:
        """Readiness of the candidate and the verdict of its analysis."""
        entry = self._entry(rollout, now)
        readiness, why = _readiness(entry)
        if readiness is Readiness.FAILED:
            return Seen(readiness, Verdict.FAIL, why)
        if rollout.strategy.analysis is None:
            return Seen(readiness, *_by_golden_predictions(entry))
        assessment = self.assessment(rollout, now)  # also without a gateway: what has failed, has failed
        if not (rollout.present.weight or rollout.present.mirror):  # then no live traffic speaks for it
            golden, why = _by_golden_predictions(entry)
            if golden is not Verdict.PASS and assessment.verdict in (Verdict.PASS, Verdict.INCONCLUSIVE):
                return Seen(readiness, golden, why)
        return Seen(readiness, assessment.verdict, assessment.why)

    def assessment(self, rollout: Rollout, now: datetime) -> Assessment:
        """What live traffic and guardrails of the user's own say, with every guardrail."""
        from engine.kinds import JUDGES
        from engine.serving.evidence_file import EvidenceFile

        tallies = EvidenceFile(self._folder / EVIDENCE).tallies(rollout.model, rollout.first_generation)
        judge = JUDGES[rollout.strategy.name]
        found = judge(rollout, tallies, {})
        if self._measurements is None or found.verdict is Verdict.FAIL or not _has_own(rollout):
            return found  # what fails by what was counted does not wait for anybody's answer
        return judge(rollout, tallies, self._measurements.of(rollout, tallies, now))

    def _entry(self, rollout: Rollout, now: datetime) -> Mapping[str, Any] | None:
        """What a gateway says of the candidate now; None when none does."""
        try:
            status = json.loads((self._folder / STATUS).read_text(encoding="utf-8"))
            at = datetime.fromisoformat(status["at"].replace("Z", "+00:00"))
            model = status["models"].get(rollout.model)
            if abs((now - at).total_seconds()) > STALE_SECONDS or model is None:
                return None
            if model["generation"] < rollout.stage_generation:
                return {"state": "loading"}
            found: Mapping[str, Any] = model["releases"].get(str(rollout.candidate)) or {"state": "loading"}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return found


def _has_own(rollout: Rollout) -> bool:
    return bool((rollout.strategy.analysis or {}).get("custom"))


def _readiness(entry: Mapping[str, Any] | None) -> tuple[Readiness, str]:
    if entry is None:
        return Readiness.UNKNOWN, ""
    if entry.get("golden") == "different":
        return Readiness.FAILED, str(entry.get("reason") or "it does not predict what it did when it was evaluated")
    return _READINESS.get(str(entry.get("state")), Readiness.LOADING), str(entry.get("reason") or "it cannot be loaded")


def _by_golden_predictions(entry: Mapping[str, Any] | None) -> tuple[Verdict, str]:
    if entry is not None and entry.get("golden") == "same":
        return Verdict.PASS, "it predicts what it predicted when it was evaluated"
    return Verdict.INCONCLUSIVE, "it has no recorded predictions to be checked by; somebody must promote it"
