"""The project's policies where they are asked for: listed, tested by cases, and judged at the deploy step.

Nothing is read, and pydantic is not imported, for a project without policies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.app.workspace import PROJECT_FILE, Workspace
from engine.errors import UsageError

if TYPE_CHECKING:
    from engine.spec.policies import Policy
    from engine.spec.policy_cases import CaseResult

CASES = "policy_cases.yaml"


@dataclass(frozen=True)
class Tested:
    """How the cases came out, and the rules that no case sees refuse anything."""

    results: Sequence[CaseResult]
    unproved: Sequence[str]


def policies_of(workspace: Workspace) -> tuple[Policy, ...]:
    """The rules that count in the workspace's environment. Raises SpecError, UsageError."""
    if b"policies" not in (workspace.project_text or b""):
        return ()
    from engine.spec.project import load_project

    return load_project(workspace.project_text, PROJECT_FILE).policies_of(workspace.environment)


def judge_cases(workspace: Workspace, files: Sequence[Path]) -> Tested:
    """Judge every case of `files`; `policy_cases.yaml` if none is named. Raises SpecError, UsageError."""
    from engine.kinds import KINDS
    from engine.spec.policy_cases import read_cases, run
    from engine.spec.project import load_project

    project = load_project(workspace.project_text, PROJECT_FILE)
    results = []
    for path in files or [workspace.root / CASES]:
        name = workspace.relative(path)
        for case, node in read_cases(_bytes_of(path, name), name):
            results.append(run(case, node, project, KINDS, _reader(workspace), _exists(workspace)))
    every = {policy.name for policy in project.policies}
    every |= {policy.name for each in project.environments.values() for policy in each.policies}
    proved = {name for result in results for name in result.refused}
    return Tested(results, sorted(every - proved))


def _reader(workspace: Workspace) -> Any:
    return lambda name: _bytes_of(workspace.root / name, name)


def _exists(workspace: Workspace) -> Any:
    return lambda name: (workspace.root / name).exists()


def _bytes_of(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        remedy = "Write cases there, or name a file: engine policy test FILE"
        raise UsageError(f"{name} cannot be read: {error.strerror}", remedy=remedy) from None
