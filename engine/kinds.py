"""The tables of built-in kinds: name → `"module:attribute"`, loaded when used.

A new kind is one file, one line here and one example in `specs/`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from engine.spec.kinds import Kinds, KindTable

if TYPE_CHECKING:
    from engine.core.evidence import Tally
    from engine.core.rollout import Rollout
    from engine.core.stages import Strategy
    from engine.ports import Gauge, Notifier, StepFunction
    from engine.strategies.judging import Assessment, Measurements
    from engine.triggers.decision import Decision
    from engine.triggers.facts import Facts

KINDS = Kinds(
    triggers=KindTable(
        {
            "scheduled": "engine.triggers.scheduled:Block",
            "drift": "engine.triggers.drift:Block",
            "performance": "engine.triggers.performance:Block",
            "data": "engine.triggers.data:Block",
            "freshness": "engine.triggers.freshness:Block",
            "webhook": "engine.triggers.webhook:Block",
            "upstream": "engine.triggers.upstream:Block",
            "manual": "engine.triggers.manual:Block",
        }
    ),
    gates=KindTable(
        {
            "baseline": "engine.gates.baseline:Block",
            "champion": "engine.gates.champion:Block",
            "fairness": "engine.gates.fairness:Block",
            "slices": "engine.gates.slices:Block",
            "calibration": "engine.gates.calibration:Block",
            "churn": "engine.gates.churn:Block",
            "robustness": "engine.gates.robustness:Block",
            "leakage": "engine.gates.leakage:Block",
            "latency_p99": "engine.gates.latency:Block",
            "model_size": "engine.gates.model_size:Block",
            "cost_per_million": "engine.gates.cost:Block",
            "value": "engine.gates.value:Block",
            "function": "engine.gates.function:Block",
            "metric": "engine.gates.threshold:Block",  # last: other gates may name a metric too
        }
    ),
    strategies=KindTable(
        {
            "recreate": "engine.strategies.recreate:Block",
            "canary": "engine.strategies.canary:Block",
            "blue_green": "engine.strategies.blue_green:Block",
            "shadow": "engine.strategies.shadow:Block",
            "ab_test": "engine.strategies.ab_test:Block",
        }
    ),
)

TRIGGERS: Mapping[str, Callable[[Mapping[str, Any], Facts], Decision]] = KindTable(
    {name: f"engine.triggers.{name}:evaluate" for name in KINDS.triggers}
)
"""Whether a resolved trigger is due, by its type. `triggers.group.evaluate` puts them together."""

WORKER_STEPS: Mapping[str, str] = {
    "snapshot": "engine.adapters.sources.remote:run",
    "check_data": "engine.steps.check_data:run",
    "command": "engine.steps.command:run",
    "split": "engine.steps.split:run",
    "train": "engine.steps.train:run",
    "evaluate": "engine.steps.evaluate:run",
    "examine": "engine.steps.examine:run",
}
"""What runs in a worker process, by step kind."""

INLINE_STEPS: Mapping[str, StepFunction] = KindTable({"validate": "engine.steps.validate:run"})
"""What is quick and runs in the engine's own process, by step kind."""

STRATEGIES: Mapping[str, Callable[[Mapping[str, Any]], Strategy]] = KindTable(
    {name: f"engine.strategies.{name}:strategy_of" for name in KINDS.strategies}
)
"""What a resolved `deployment` block comes to, by strategy."""

JUDGES: Mapping[str, Callable[[Rollout, Iterable[Tally], Measurements], Assessment]] = KindTable(
    {
        "blue_green": "engine.strategies.preview:assess_preview",
        "canary": "engine.strategies.assess:assess",
        "shadow": "engine.strategies.copies:assess_copies",
        "ab_test": "engine.strategies.experiment:assess_experiment",
    }
)
"""Who judges a rollout by what was counted and measured, for strategies with an analysis."""

GAUGES: Mapping[str, Gauge] = KindTable(
    {
        "prometheus": "engine.adapters.gauges.prometheus:measure",
        "webhook": "engine.adapters.gauges.webhook:measure",
    }
)
"""Who asks for a guardrail of the user's own, by the key that says where."""

NOTIFIERS: Mapping[str, Notifier] = KindTable(
    {
        name: f"engine.adapters.notifiers.{name}:notify"
        for name in ("webhook", "slack", "email", "alertmanager", "command")
    }
)
"""Who brings a notice to a receiver of alerts, by the key that says where."""
