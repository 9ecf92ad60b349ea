"""Policies: rules of `engine.yaml` that every spec and every deployment must keep, whoever wrote the spec.

A rule that speaks of the spec alone is judged where a spec is read: by `validate`, `plan`, `apply` and the controller.
One that speaks of `now` or of the `release` is judged at the deploy step, at its time, and before each further step of
a rollout. What cannot be judged is denied. Pure: facts in, findings out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, model_validator

from engine.errors import Diagnostic
from engine.spec.consent import approval_of
from engine.spec.diagnostics import models_in, suggestion, validate
from engine.spec.expressions import ExpressionError
from engine.spec.fields import Block, Text, ZoneName, mistake
from engine.spec.rules import Path, Rule, RuleError, parse
from engine.spec.yaml_tree import Node, Place

ABOUT: Mapping[str, str] = {
    "spec": "The spec as it is resolved, with defaults filled in: `spec.owner`, `spec.labels.licence`.",
    "environment": "The environment of `--env`; an empty text without one.",
    "gates": "The gates of `validation`, each with its fields, its `kind` and whether it is `binding`.",
    "approval": "Whether approval is `required`, `count`, `by`, `independent`, `expires`, `hold`.",
    "now": "The moment, in the rule's time zone: `weekday`, `hour`, `minute`, `day`, `month`, `date`, `time`.",
    "release": "What is to go live: `version`, `format` of its file, `estimator`, `metrics`, if it is the `first`.",
}
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "approval": ("required", "count", "by", "expires", "independent", "hold"),
    "now": ("weekday", "hour", "minute", "day", "month", "date", "time"),
    "release": ("version", "format", "estimator", "metrics", "first"),
}
AT_DEPLOY = frozenset({"now", "release"})
"""What is known at the deploy step only."""

PolicyName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]


class PolicyBlock(Block):
    """One entry of `policies`: require what must hold, or deny what must not."""

    name: PolicyName
    """Its name, in messages: lower-case letters, digits, _ and -."""
    when: Text | None = None
    """The rule counts where this holds; everywhere if left out."""
    require: Text | None = None
    """What must hold."""
    deny: Text | None = None
    """What must not hold."""
    message: Text
    """What the rule is for, in one sentence."""
    remedy: Text | None = None
    """What would satisfy it; the expression itself if left out."""
    severity: Literal["error", "warning"] = "error"
    """error: it is refused. warning: it is only said."""
    timezone: ZoneName = "UTC"
    """The time zone of `now`."""

    @model_validator(mode="after")
    def _one_rule(self) -> PolicyBlock:
        if (self.require is None) == (self.deny is None):
            raise mistake("a policy either requires or denies", "Write one of require and deny.")
        return self


@dataclass(frozen=True)
class Policy:
    """A checked rule. `place` is where it stands in engine.yaml."""

    name: str
    rule: Rule
    denies: bool
    when: Rule | None
    message: str
    remedy: str
    warns: bool
    zone: str
    place: Place

    @property
    def at_deploy(self) -> bool:
        """Whether it can be judged at the deploy step only."""
        return bool(AT_DEPLOY & self.names)

    @property
    def timed(self) -> bool:
        """Whether only time decides, so that a plan can say how it would be judged now."""
        return "now" in self.names and "release" not in self.names

    @property
    def names(self) -> frozenset[str]:
        """What it speaks of."""
        return self.rule.names | (self.when.names if self.when else frozenset())


@dataclass(frozen=True)
class Finding:
    """A rule that is not kept: why, in words, and what would satisfy it."""

    policy: Policy
    why: str

    @property
    def message(self) -> str:
        """`policy owner-named: every model names its owner (spec.owner is not set)`."""
        text = f"policy {self.policy.name}: {self.policy.message.rstrip('.')}"
        return f"{text} ({self.why})" if self.why else text

    @property
    def remedy(self) -> str:
        """What would satisfy it, and where the rule stands."""
        place = f"{self.policy.place.file}:{self.policy.place.line}"
        if self.policy.remedy:
            return f"{self.policy.remedy.rstrip('.')} ({place})."
        verb = "It is denied where" if self.policy.denies else "It requires that"
        return f"{verb} {self.policy.rule.text} ({place})."


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────


def read_policies(node: Node, where: str) -> tuple[list[Policy], list[Diagnostic]]:
    """The rules of a list, and every mistake in them."""
    if not isinstance(node.value, list):
        return [], [node.name_place.diagnostic(f"{where} must be a list of policies", "Write - name: … under it.")]
    found: list[Policy] = []
    mistakes: list[Diagnostic] = []
    for index, item in enumerate(node.items):
        policy, wrong = _policy(item, f"{where}[{index}]")
        mistakes += wrong
        if policy is None:
            continue
        if policy.name in {other.name for other in found}:
            place = item.fields["name"].place
            mistakes.append(place.diagnostic(f"{where} has {policy.name} twice", "Keep one, or name them apart."))
        found.append(policy)
    return found, mistakes


def overlaid(base: Sequence[Policy], top: Sequence[Policy]) -> tuple[Policy, ...]:
    """The rules of an environment over those of the project: one of the same name takes its place."""
    names = {policy.name for policy in top}
    return (*(policy for policy in base if policy.name not in names), *top)


def _policy(node: Node, where: str) -> tuple[Policy | None, list[Diagnostic]]:
    block, mistakes = validate(PolicyBlock, node, where)
    if block is None:
        return None, mistakes
    rules: dict[str, Rule] = {}
    for key in ("when", "require", "deny"):
        text = getattr(block, key)
        if text is None:
            continue
        try:
            rules[key] = parse(text, tuple(ABOUT))
            _refuse_unknown_fields(rules[key])
        except ExpressionError as error:
            mistakes.append(node.fields[key].place.diagnostic(f"{where}.{key} {error}", error.remedy))
    if mistakes:
        return None, mistakes
    policy = Policy(
        name=block.name,
        rule=rules["deny" if block.require is None else "require"],
        denies=block.require is None,
        when=rules.get("when"),
        message=block.message,
        remedy=block.remedy or "",
        warns=block.severity == "warning",
        zone=block.timezone,
        place=node.place,
    )
    return policy, []


def _refuse_unknown_fields(rule: Rule) -> None:
    """A field that never is there would make a rule that never speaks, or always."""
    for path in rule.paths:
        known = _FIELDS.get(path[0], ())
        if known and len(path) > 1 and path[1] not in known:
            raise ExpressionError(
                f"speaks of {'.'.join(path[:2])}, which is not there", suggestion(path[1], known, "There are")
            )
        if path[0] == "spec":
            _refuse_unknown_in_spec(path)
        elif path[0] in ("gates", "environment") and len(path) > 1:
            raise ExpressionError(
                f"speaks of {'.'.join(path)}, which is not there",
                "Go through the gates: any(gate.kind == … for gate in gates)."
                if path[0] == "gates"
                else "It is a text.",
            )


def _refuse_unknown_in_spec(path: Path) -> None:
    from engine.spec.models import ModelSpec

    model: Any = ModelSpec
    for position, name in enumerate(path[1:], start=1):
        fields = {field.alias or key: field for key, field in model.model_fields.items()}
        if name not in fields:
            text = ".".join(path[: position + 1])
            raise ExpressionError(f"speaks of {text}, which no spec has", suggestion(name, sorted(fields), "There are"))
        inner = models_in(fields[name].annotation)
        if len(inner) != 1 or "dict" in str(fields[name].annotation).split("[")[0]:
            return
        [model] = inner


# ── facts ────────────────────────────────────────────────────────────────────────────────────────────────────


def facts_of(document: Mapping[str, Any], environment: str | None, gate_keys: Iterable[str]) -> dict[str, Any]:
    """What rules may speak of, of a resolved spec. `gate_keys`: the keys that tell a gate's kind."""
    keys = [key for key in gate_keys if key != "metric"]
    return {
        "spec": document,
        "environment": environment or "",
        "gates": [_gate(gate, keys) for gate in document["validation"]],
        "approval": approval_of(document["deployment"]),
    }


def moment_of(now: datetime, zone: str) -> dict[str, Any]:
    """A moment as rules see it. `now` has a time zone."""
    local = now.astimezone(ZoneInfo(zone))
    return {
        "weekday": WEEKDAYS[local.weekday()],
        "hour": local.hour,
        "minute": local.minute,
        "day": local.day,
        "month": local.month,
        "date": f"{local:%Y-%m-%d}",
        "time": f"{local:%H:%M}",
    }


def _gate(gate: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    kind = next((key for key in keys if gate.get(key) is not None), "metric")
    return {**gate, "kind": kind, "binding": gate.get("on_failure") != "alert"}


# ── judging ──────────────────────────────────────────────────────────────────────────────────────────────────


def judge(policies: Iterable[Policy], facts: Mapping[str, Any], now: datetime | None = None) -> list[Finding]:
    """The rules that are not kept. `now` is added to the facts, in each rule's own time zone."""
    findings = []
    for policy in policies:
        known = facts if now is None else {**facts, "now": moment_of(now, policy.zone)}
        try:
            if policy.when is not None and not policy.when.holds(known):
                continue
            if policy.rule.holds(known) is not policy.denies:
                continue
            why = policy.rule.because(known, true=policy.denies)
        except RuleError as error:
            why = str(error)
        findings.append(Finding(policy, why))
    return findings


def placed(finding: Finding, places: Mapping[str, Place], file: str) -> Diagnostic:
    """A finding at the place in the spec that it is about; at the spec itself where nothing is written of it."""
    place = next((places[key] for key in _pointers(finding.policy) if key in places), Place(file, 1, 1))
    return place.diagnostic(finding.message, finding.remedy)


def _pointers(policy: Policy) -> Iterable[str]:
    """Where in the spec a rule is about, the nearest first."""
    roots: Mapping[str, Path] = {"gates": ("validation",), "approval": ("deployment", "approval")}
    rules = [rule for rule in (policy.rule, policy.when) if rule is not None]
    for path in [path for rule in rules for path in rule.paths]:
        inside = path[1:] if path[0] == "spec" else roots.get(path[0], ())
        for length in range(len(inside), 0, -1):
            yield "".join(f"/{part}" for part in inside[:length])
    yield ""
