"""Why a step runs, in words. Pure: a reason of a plan in, one line out; every reason code has its sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from engine.cli.words import count, one_line, percent, value
from engine.core.plan import HOLDS, Action, Conditional, ModelPlan, Reason, ReasonCode, Reuse, Run, Wait
from engine.core.verdict import Verdict
from engine.errors import assert_never
from engine.spec.consent import approval_of

if TYPE_CHECKING:
    from engine.app.detecting import Detection

Document = Callable[[], Mapping[str, Any]]
"""The resolved spec of a model, asked for only where a line needs it: a remembered plan has it not at hand."""


def what(action: Action) -> str:  # noqa: RET503 - the last case raises
    """What happens to the step, in two or three words."""
    match action:
        case Run():
            return "run"
        case Reuse():
            return "up to date" if action.result.verdict in (None, Verdict.PASS) else "did not pass"
        case Conditional():
            return f"if {action.on} passes"
        case Wait():
            return f"held by {action.on}" if action.on == "policy" else f"waits for {action.on}"
        case _:
            assert_never(action)


def why(action: Action, model: ModelPlan, document: Document) -> str:  # noqa: RET503 - the last case raises
    """The last column of a step's line: its reason, its earlier result, or what it will bring about."""
    match action:
        case Run():
            return _retry(action.step, model) or reason_text(_without_step(action), document)
        case Reuse():
            return action.result.summary
        case Conditional():
            return delivery(model, document()) if action.step == "deploy" else _own_reason(action.reason, document)
        case Wait():
            return str(action.reason.after) if action.reason.code in HOLDS else ""
        case _:
            assert_never(action)


def reason_text(reason: Reason, document: Document) -> str:
    """One reason in words; more changes of the same kind are counted."""
    text = _SENTENCES[reason.code](reason, document)
    return f"{text}, {reason.others} more" if reason.others else text


def delivery(model: ModelPlan, document: Mapping[str, Any]) -> str:
    """How a release goes live: `canary 10%`; the first one of an endpoint has nothing to stand beside."""
    if model.endpoint is None or model.endpoint.stable is None:
        agreed = approval_text(document["deployment"])
        return f"the first release, 100% after {agreed}" if agreed else "the first release, 100%"
    return delivery_text(document["deployment"])


def delivery_text(block: Mapping[str, Any]) -> str:
    """A resolved `deployment` block in words: `canary 10% → 25% (pause) → 100%`."""
    words = [str(block["strategy"]).replace("_", " ")]
    agreed = approval_text(block)
    if block["strategy"] == "canary":
        stops = [percent(step["traffic"]) + _pause(step["pause"]) for step in block["steps"] or ()]
        stops = stops or [percent(block["initial_traffic"]), "promote by hand"]
        if block["steps"] and agreed:
            stops.insert(len(stops) - (stops[-1] == "100%"), agreed)
        words.append(" → ".join(stops if stops[-1] in ("100%", "promote by hand") else [*stops, "100%"]))
    elif block["strategy"] == "blue_green":
        words.append(f"→ {agreed} → 100%" if agreed else "→ 100%")
    elif block["strategy"] == "shadow":
        agreed = agreed or ("approval" if block["then"] == "approval" else "")
        words.append(f"of {percent(block['sample'])} → {agreed and f'{agreed} → '}100%")
    elif block["strategy"] == "ab_test":
        metric, share = block["metric"].replace("_", " "), percent(block["traffic"])
        words.append(f"by {metric}, {share} → {agreed and f'{agreed} → '}100%")
    elif agreed:
        words.append(f"after {agreed}")
    return " ".join(words)


def approval_text(block: Mapping[str, Any]) -> str:
    """`approval`, `2 approvals of ana, ben`; empty where nobody has to agree."""
    terms = approval_of(block)
    if not terms["required"]:
        return ""
    text = "approval" if terms["count"] == 1 else f"{terms['count']} approvals"
    return f"{text} of {', '.join(terms['by'])}" if terms["by"] else text


def _pause(pause: bool | float) -> str:
    if isinstance(pause, bool):
        return " (pause)" if pause else ""
    from engine.spec.units import format_duration

    return f" (pause {format_duration(pause)})"


def detection_text(detection: Detection) -> str:
    """`a doubled error rate (1% → 2%) shows after about 5,400 requests at 10%`."""
    low, high = percent(detection.base_rate), percent(detection.base_rate * detection.risk)
    size = 10 ** max(0, len(str(detection.requests)) - 2)
    about = -(-detection.requests // size) * size  # two digits, and not too few
    return f"a doubled error rate ({low} → {high}) shows after about {about:,} requests at {percent(detection.weight)}"


def _own_reason(reason: Reason, document: Document) -> str:
    """A conditional step's reason, unless it is just that something above it runs."""
    return "" if reason.code is ReasonCode.UPSTREAM else reason_text(reason, document)


def _retry(step: str, model: ModelPlan) -> str:
    if not model.attempt or step != model.retried:
        return ""
    return f"retry {model.attempt} of {model.retries} after a failed gate, with another seed"


def _change(reason: Reason, _document: Document) -> str:
    return f"{reason.field}: {value(reason.before)} → {value(reason.after)}"


def _data(reason: Reason, document: Document) -> str:
    if reason.field == "champion":
        before, after = (str(content or "none").partition(",")[0] for content in (reason.before, reason.after))
        return f"champion changed: {before} → {after}"
    if reason.field != "data":
        return f"data changed: {reason.field}"
    source = document()["data"]["source"]
    if isinstance(source, Mapping):
        return "data changed: the query's result"
    if str(source).startswith("dvc:"):
        return f"data changed: {source}, {_md5(reason.before)} → {_md5(reason.after)}"
    return f"data changed: {source}" if source else "data changed"


def _md5(identity: Any) -> str:
    """`md5 e5ebd4c0`, of what DVC tracks."""
    kind, _, digest = str(identity).partition(":")
    return f"{kind} {digest[:8]}" if kind == "md5" else "other data"


def _environment(reason: Reason, _document: Document) -> str:
    name = str(reason.field)
    if name.startswith("engine "):
        return f"a new version of engine does {name.removeprefix('engine ')} in another way"
    if reason.before is None:
        return f"{name} {value(reason.after)} is used now"
    if reason.after is None:
        return f"{name} {value(reason.before)} is not installed any more"
    return f"{name} {value(reason.before)} → {value(reason.after)}"


def _upstream(reason: Reason, _document: Document) -> str:
    if reason.field:
        return f"{reason.cause} gave another {reason.field}" if reason.cause else f"{reason.field} changed"
    return f"because {reason.cause} runs"


def _missing_output(reason: Reason, _document: Document) -> str:
    step, _, role = str(reason.field).partition(".")
    return f"the output {role} of {step} is missing from the store"


def _missing_remote(reason: Reason, _document: Document) -> str:
    if reason.field == "registry version":
        return f"version {value(reason.before)} is gone from the registry"
    if reason.field == "endpoint":
        live = "nothing is live" if reason.before is None else f"version {reason.before} is live"
        return f"{live}, not this deployment"
    return f"{reason.field} was moved by another hand: {value(reason.before)}, ours is {value(reason.after)}"


def _failed(reason: Reason, _document: Document) -> str:
    return f"failed before: {one_line(str(reason.before), 70)}" if reason.before else "failed before"


def _without_step(action: Run) -> Reason:
    """A failed step's message begins with the step's name, which stands in the line already."""
    reason = action.reason
    if reason.code is ReasonCode.RETRY and isinstance(reason.before, str):
        return replace(reason, before=reason.before.removeprefix(f"{action.step}: "))
    return reason


_SENTENCES: Mapping[ReasonCode, Callable[[Reason, Document], str]] = {
    ReasonCode.NEW: lambda _reason, _document: "new",
    ReasonCode.SPEC_CHANGED: _change,
    ReasonCode.DATA_CHANGED: _data,
    ReasonCode.CODE_CHANGED: lambda reason, _document: f"code changed: {reason.field}",
    ReasonCode.ENVIRONMENT_CHANGED: _environment,
    ReasonCode.TRIGGER_FIRED: lambda reason, _document: f"trigger fired: {reason.field or 'manual'}",
    ReasonCode.UPSTREAM: _upstream,
    ReasonCode.MISSING_OUTPUT: _missing_output,
    ReasonCode.MISSING_REMOTE: _missing_remote,
    ReasonCode.TAINTED: lambda _reason, _document: "marked to run again (state taint)",
    ReasonCode.FORCED: lambda _reason, _document: "asked to run again",
    ReasonCode.RETRY: _failed,
    ReasonCode.APPROVAL: lambda reason, _document: str(reason.after),
    ReasonCode.POLICY: lambda reason, _document: str(reason.after),
    ReasonCode.INTERRUPTED: lambda _reason, _document: "was interrupted",
}


def summary(counts: Mapping[str, int]) -> str:
    """`3 to run, 2 conditional, 1 up to date`."""
    words = {"run": "to run", "conditional": "conditional", "reuse": "up to date", "wait": "waiting"}
    return ", ".join(f"{counts[kind]:,} {text}" for kind, text in words.items() if counts[kind] or kind == "run")


def kind_of(action: Action) -> str:  # noqa: RET503 - the last case raises
    """The name of an action in JSON."""
    match action:
        case Run():
            return "run"
        case Reuse():
            return "reuse"
        case Conditional():
            return "conditional"
        case Wait():
            return "wait"
        case _:
            assert_never(action)


def tally(models: Mapping[str, ModelPlan]) -> dict[str, int]:
    """How many actions there are of each kind."""
    counts = {"run": 0, "conditional": 0, "reuse": 0, "wait": 0}
    for model in models.values():
        for action in model.actions:
            counts[kind_of(action)] += 1
    return counts


def unchanged(number: int) -> str:
    """`998 models up to date`."""
    return f"{count(number, 'model')} up to date"
