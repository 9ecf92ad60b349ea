"""The new release proves itself on a growing share of traffic: `{strategy: canary, steps: [10%, 50%, 100%]}`.

Resolved, `steps` is a list of `{traffic, duration, pause}`, however it was written.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, PlainValidator, Tag, WithJsonSchema, field_serializer, model_validator

from engine.core.approval import terms_of
from engine.core.stages import Stage, Strategy
from engine.spec import units
from engine.spec.fields import Block as BaseBlock
from engine.spec.fields import PositiveFraction, Seconds, Share, StrategyBlock, mistake, read_seconds
from engine.strategies.analysis import Analysis

MOST_STEPS = 50


def _pause(value: Any) -> bool | float:
    return value if isinstance(value, bool) else read_seconds(value)


Pause = Annotated[
    Any,
    PlainValidator(_pause),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "boolean"},
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "string", "pattern": units.DURATION_PATTERN},
            ],
            "examples": ["10m"],
        }
    ),
]


class Step(BaseBlock):
    """One step, where its share is not all there is to say."""

    traffic: PositiveFraction
    """The candidate's share of the traffic."""
    duration: Seconds | None = None
    """The least time that this step lasts; step_duration if left out."""
    pause: Pause = False
    """After the step is passed: true waits until somebody resumes, a duration goes on by itself after that time."""


class Growth(BaseBlock):
    """Steps by a rule, from initial_traffic up to 100%."""

    by: Share | None = None
    """Each step adds so much."""
    times: Annotated[float, Field(gt=1, le=100)] | None = None
    """Each step is so many times the one before."""

    @model_validator(mode="after")
    def _one_rule(self) -> Growth:
        if (self.by is None) == (self.times is None):
            raise mistake("steps grow either by a share or by a factor", "Write {by: 20%} or {times: 2}.")
        return self

    def steps(self, first: float) -> list[Step]:
        """The steps from the first share on; one more than may be when they are too many."""
        shares = [first]
        while shares[-1] < 1 and len(shares) <= MOST_STEPS:
            grown = shares[-1] + self.by if self.by is not None else shares[-1] * (self.times or 1)
            shares.append(min(1.0, round(grown, 9)))
        return [Step(traffic=share) for share in shares]


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict | BaseBlock)


OneStep = Annotated[
    Annotated[PositiveFraction, Tag("share")] | Annotated[Step, Tag("step")],
    Discriminator(lambda value: "step" if _is_mapping(value) else "share"),
]
Steps = Annotated[
    Annotated[list[OneStep], Field(min_length=1, max_length=MOST_STEPS), Tag("list")]
    | Annotated[Growth, Tag("growth")],
    Discriminator(lambda value: "growth" if _is_mapping(value) else "list"),
]


class Block(StrategyBlock):
    """`deployment: {strategy: canary, initial_traffic, …}`."""

    strategy: Literal["canary"]
    """A small share of traffic first."""
    initial_traffic: Share = 0.1
    """The share of traffic that the candidate starts with."""
    steps: Steps | None = None
    """The shares it goes through, growing to 100%: a list, {by: 20%} or {times: 2}.
    Without any it stays at the first one until somebody promotes it."""
    step_duration: Seconds | None = None
    """The least time that a step lasts."""
    analysis: Analysis = Field(default_factory=Analysis)
    """What has to hold before the next step."""

    says_automatic: ClassVar[bool] = True

    @model_validator(mode="after")
    def _steps_grow(self) -> Block:
        steps = self.all_steps() or []
        if len(steps) > MOST_STEPS:
            raise mistake(f"steps are more than {MOST_STEPS}", "Let them grow faster.")
        if any(later.traffic <= earlier.traffic for earlier, later in pairwise(steps)):
            raise mistake("the steps of a canary must grow", "Write them like [10%, 25%, 50%, 100%].")
        if steps and steps[0].traffic < self.initial_traffic:
            raise mistake("the first step is below initial_traffic", "Begin the steps with initial_traffic.")
        if steps and steps[-1].traffic == 1 and (steps[-1].pause or steps[-1].duration is not None):
            raise mistake("the step to 100% cannot be paused or last", "Write approval: required to be asked before.")
        return self

    @field_serializer("steps")
    def _resolved(self, _steps: object) -> list[dict[str, Any]] | None:
        steps = self.all_steps()
        return None if steps is None else [step.model_dump(mode="json") for step in steps]

    def all_steps(self) -> list[Step] | None:
        """The steps one by one, from initial_traffic on."""
        if self.steps is None:
            return None
        if isinstance(self.steps, Growth):
            return self.steps.steps(self.initial_traffic)
        steps = [step if isinstance(step, Step) else Step(traffic=step) for step in self.steps]
        begun = steps[0].traffic <= self.initial_traffic
        return steps if begun else [Step(traffic=self.initial_traffic), *steps]


def strategy_of(block: Mapping[str, Any]) -> Strategy:
    """The stages that a resolved block comes to. Without steps there is one, which a person ends."""
    usual = float(block["step_duration"] or 0)
    stages: tuple[Stage, ...]
    if block["steps"] is None:
        stages = (Stage(float(block["initial_traffic"]), usual, hold=True),)
    else:
        stages = tuple(
            Stage(
                weight=float(step["traffic"]),
                seconds=usual if step["duration"] is None else float(step["duration"]),
                hold=bool(step["pause"]),
                hold_seconds=None if isinstance(step["pause"], bool) else float(step["pause"]),
            )
            for step in block["steps"]
            if step["traffic"] < 1
        )
    return Strategy("canary", stages, terms_of(block), block["analysis"])
