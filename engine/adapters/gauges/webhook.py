"""A guardrail's verdict from a webhook: it gets what is known of the candidate, and says what it makes of it.

The request is a POST of `{"guardrail", "model", "candidate", "stable", "weight", "stage", "evidence"}`; the answer
`{"verdict": "pass" | "fail" | "inconclusive", "reason": …}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.adapters.masking import masker
from engine.adapters.outgoing import Post, persistently, send
from engine.core.evidence import Measurement
from engine.core.verdict import Verdict
from engine.errors import EngineError, UsageError
from engine.ports import Question

_ANSWERS = {verdict.value: verdict for verdict in (Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE)}
_LONGEST = 200  # characters of a reason


def measure(guardrail: Mapping[str, Any], question: Question) -> Measurement:
    """The port Gauge. Any other answer is an error."""
    try:
        return persistently(lambda: _asked(guardrail, question))
    except EngineError as error:
        return Measurement(error=error.message)


def _asked(guardrail: Mapping[str, Any], question: Question) -> Measurement:
    url, token = question.resolve(guardrail["webhook"]), question.resolve(guardrail["token"] or "")
    document = {
        "guardrail": guardrail["name"],
        "model": question.model,
        "candidate": question.candidate,
        "stable": question.stable,
        "weight": question.weight,
        "stage": question.stage,
        "evidence": question.evidence,
    }
    seconds = float(guardrail["timeout"])
    reply = send(Post.of_json(url, document, token=token, seconds=seconds, private=guardrail["private"]))
    if reply.status >= 300:
        raise UsageError(f"the webhook answered {reply.status}")
    answer = reply.document()
    verdict = _ANSWERS.get(str(answer.get("verdict"))) if isinstance(answer, dict) else None
    if verdict is None:
        raise UsageError('the webhook\'s answer has no "verdict" that is pass, fail or inconclusive')
    return Measurement(verdict=verdict, reason=_shown(answer.get("reason"), [url, token]))


def _shown(reason: object, secrets: list[str]) -> str:
    if not isinstance(reason, str):
        return ""
    words = "".join(char if char.isprintable() else " " for char in masker(secrets)(reason)).strip()
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}…"
