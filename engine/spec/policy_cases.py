"""Cases of policies: a spec, perhaps a moment and a release, and the rules that must refuse it. Pure but for reading.

`run` judges each case by every rule that it gives what they need, and says where another set refuses than is written.
A file without a case proves nothing, and is a mistake.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, PlainValidator, model_validator

from engine.errors import Diagnostic, SpecError
from engine.spec.diagnostics import validate
from engine.spec.fields import Block, ProjectPath, Text, mistake, show
from engine.spec.kinds import Kinds
from engine.spec.load import load_spec
from engine.spec.policies import Policy, PolicyName, facts_of, judge
from engine.spec.project import Project
from engine.spec.yaml_tree import Node, parse_tree


def _moment(value: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except (AttributeError, ValueError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise mistake(f"{show(value)} is not a moment", 'Write it with its zone, like "2026-11-27T15:00:00+01:00".')
    return moment


class Case(Block):
    """One case."""

    name: Text
    """What it shows."""
    spec: ProjectPath | None = None
    """The spec file that is judged."""
    model_spec: dict[str, Any] | None = None
    """The spec itself, instead of a file."""
    environment: Text | None = None
    """The environment that it is judged in."""
    now: Annotated[datetime, PlainValidator(_moment)] | None = None
    """The moment of the deploy step; without one, rules about time are not judged."""
    release: dict[str, Any] | None = None
    """What is to be deployed; without it, rules about the release are not judged."""
    refused: Annotated[list[PolicyName], Field(max_length=1_000)]
    """The rules that refuse it, all of them; [] if none does."""
    warned: list[PolicyName] | None = None
    """The rules that only warn, all of them; not compared if left out."""

    @model_validator(mode="after")
    def _one_spec(self) -> Case:
        if (self.spec is None) == (self.model_spec is None):
            raise mistake("a case has one spec", "Write one of spec and model_spec.")
        return self


class CaseFile(Block):
    """A file of cases."""

    cases: Annotated[list[Case], Field(min_length=1)]
    """The cases."""


@dataclass(frozen=True)
class CaseResult:
    """How one case came out. `wrong` says what differs, empty if nothing does; `judged` and `refused` name rules."""

    name: str
    place: str
    wrong: str
    judged: frozenset[str]
    refused: frozenset[str]


def read_cases(text: bytes, file: str) -> list[tuple[Case, Node]]:
    """The cases of a file with their nodes. Raises SpecError."""
    if not text.strip():
        raise SpecError([Diagnostic(file, 0, 0, "there is no case", "Write cases: and a list under it.")])
    parsed = parse_tree(text, file)
    if parsed.root is None or parsed.diagnostics:
        raise SpecError(parsed.diagnostics)
    found, mistakes = validate(CaseFile, parsed.root, "")
    if mistakes:
        raise SpecError(mistakes)
    return list(zip(found.cases, parsed.root.fields["cases"].items, strict=True))


def run(
    case: Case, node: Node, project: Project, kinds: Kinds, read: Callable[[str], bytes], exists: Callable[[str], bool]
) -> CaseResult:
    """Judge one case. `read` gives a spec file's bytes. Raises SpecError for a spec that no rule is about."""
    policies = project.policies_of(case.environment)
    text = read(case.spec) if case.spec else json.dumps({"model_spec": case.model_spec}).encode()
    bare = replace(
        project,
        policies=(),
        environments={name: replace(each, policies=()) for name, each in project.environments.items()},
    )
    where = case.spec or f"{node.place.file}:{node.place.line}"
    loaded = load_spec(text, where, project=bare, kinds=kinds, exists=exists, environment=case.environment)
    facts = facts_of(loaded.document, case.environment, kinds.gates)
    given = {"now": case.now, "release": case.release}
    judged = [each for each in policies if all(given[name] is not None for name in given if name in each.names)]
    findings = judge(judged, facts | {"release": case.release}, case.now)
    refused = frozenset(each.policy.name for each in findings if not each.policy.warns)
    warned = frozenset(each.policy.name for each in findings if each.policy.warns)
    why = {each.policy.name: each.why for each in findings}
    wrong = [_differs("refused", frozenset(case.refused), refused, why)]
    if case.warned is not None:
        wrong.append(_differs("warned", frozenset(case.warned), warned, why))
    wrong.append(_unknown(case, policies))
    names = frozenset(each.name for each in judged)
    place = f"{node.place.file}:{node.place.line}"
    return CaseResult(case.name, place, "; ".join(filter(None, wrong)), names, refused | warned)


def _differs(verb: str, wanted: frozenset[str], found: frozenset[str], why: dict[str, str]) -> str:
    more = [f"{name} too ({why[name]})" for name in sorted(found - wanted)]
    return "; ".join([*(f"{verb} by {text}" for text in more), *(f"not {verb} by {n}" for n in sorted(wanted - found))])


def _unknown(case: Case, policies: Sequence[Policy]) -> str:
    known = {policy.name for policy in policies}
    strange = [name for name in (*case.refused, *(case.warned or ())) if name not in known]
    return f"there is no policy {', '.join(strange)}" if strange else ""
