"""The life-cycle graph: steps, what each one needs, and an order in which they can run.

A step's inputs are *contents*: outputs of other steps, or things observed outside (data, code, files). `after`
orders without content, `gate` names the step whose verdict must be `pass`. The graph is data; what a step does
is looked up by its `kind`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from heapq import heappop, heappush
from typing import TypeAlias

from engine.core.canonical import Json
from engine.errors import StateError


@dataclass(frozen=True)
class FromStep:
    """The content of another step's output."""

    step: str
    output: str


@dataclass(frozen=True)
class Observed:
    """Content outside the graph, under its key in the observations: `data`, `code:train.py`, `file:a.csv`."""

    key: str


@dataclass(frozen=True)
class Against:
    """The stored model of the release that a candidate is held against, which depends on the candidate and its rows."""

    candidate: FromStep
    holdout: FromStep

    @property
    def key(self) -> str:
        """What it is called where contents are listed."""
        return "champion"


Input: TypeAlias = FromStep | Observed | Against


@dataclass(frozen=True)
class Retry:
    """A gate's leave to try again: run `step` with another seed, at most `limit` times."""

    step: str
    limit: int


@dataclass(frozen=True)
class Step:
    """A node of the life-cycle graph.

    `settings` is the part of the spec that can change the result, nested as in the spec, so that the path of a
    difference is the name of the field. `packages` are the distributions whose versions matter. `version` is the
    implementation's own: raise it when the same inputs would give another result.
    """

    name: str
    kind: str
    settings: Mapping[str, Json] = field(default_factory=dict)
    inputs: Mapping[str, Input] = field(default_factory=dict)
    carries: Mapping[str, FromStep] = field(default_factory=dict)  # delivered, but of no influence on the result
    outputs: Mapping[str, str] = field(default_factory=dict)  # role → file name
    after: tuple[str, ...] = ()
    gate: str | None = None
    retry: Retry | None = None  # of a step that judges
    packages: tuple[str, ...] = ()
    version: int = 1

    @property
    def upstream(self) -> tuple[str, ...]:
        """The names of all steps that must have been settled before this one, without repeats."""
        names = []
        for source in (*self.inputs.values(), *self.carries.values()):
            if isinstance(source, FromStep):
                names.append(source.step)
            elif isinstance(source, Against):
                names += [source.candidate.step, source.holdout.step]
        return tuple(dict.fromkeys([*names, *self.after, *([self.gate] if self.gate else [])]))


@dataclass(frozen=True)
class Graph:
    """Steps in an order in which they can run; build it with `graph_of`."""

    steps: tuple[Step, ...]

    @cached_property
    def by_name(self) -> Mapping[str, Step]:
        """The same steps by their names."""
        return {step.name: step for step in self.steps}


def graph_of(steps: Iterable[Step]) -> Graph:
    """Order the steps (stable: declaration order wherever the dependencies leave it free).

    Raises StateError for a cycle or an unknown upstream: a spec that was validated has neither.
    """
    by_name = {step.name: step for step in steps}
    for step in by_name.values():
        for name in step.upstream:
            if name not in by_name:
                raise StateError(f"step {step.name} needs {name}, which does not exist")
    position = {name: i for i, name in enumerate(by_name)}
    sorter = TopologicalSorter({name: step.upstream for name, step in by_name.items()})
    try:
        sorter.prepare()
    except CycleError as error:
        raise StateError(f"the steps form a cycle: {' → '.join(error.args[1])}") from None
    ordered: list[Step] = []
    ready: list[tuple[int, str]] = []
    while sorter.is_active():
        for name in sorter.get_ready():
            heappush(ready, (position[name], name))
        _, name = heappop(ready)
        ordered.append(by_name[name])
        sorter.done(name)
    return Graph(tuple(ordered))
