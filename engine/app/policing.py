"""The project's policies where they are asked for: listed, tested by cases, and judged at the deploy step.

Nothing is read, and pydantic is not imported, for a project without policies.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.app.workspace import PROJECT_FILE, Workspace
from engine.core.records import Endpoint
from engine.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from engine.adapters.state.queries import StateQueries
    from engine.core.approval import Consent, Terms
    from engine.core.plan import Reason
    from engine.core.records import ModelState, Release, Run
    from engine.spec.policies import Finding, Policy
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
    from engine.app.documents import project_of

    return project_of(workspace.project_text).policies_of(workspace.environment)


# ── at the deploy step ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Permitting:
    """Whether releases may go live, by `engine.yaml` as it is now and by what `state` holds: the port Permissions."""

    workspace: Workspace
    state: StateQueries

    def held(self, document: Mapping[str, Any], version: int, now: datetime) -> Reason | None:
        """Why a version may not be deployed now by a spec; None if it may. Raises SpecError for a bad engine.yaml."""
        from engine.core.approval import holds_deploy, terms_of
        from engine.core.plan import Reason, ReasonCode

        model, deployment = str(document["name"]), document["deployment"]
        finding = self._finding(document, version, now)
        if finding is not None:
            return Reason(ReasonCode.POLICY, finding.policy.name, before=finding.remedy, after=finding.message)
        terms = terms_of(deployment)
        if self._stable(model) == version:  # it is live already: nothing new comes
            return None
        if terms is None or not holds_deploy(
            terms, stages=deployment["strategy"] != "recreate", first=self._stable(model) is None
        ):
            return None
        consent = self.consent(model, version, terms, now)
        return None if consent.enough else Reason(ReasonCode.APPROVAL, f"version {version}", after=consent.text)

    def consent(self, model: str, version: int, terms: Terms, now: datetime) -> Consent:
        """Who has agreed to a release, and who has to."""
        from engine.core.approval import consent_of

        release = release_of(self.state, model, version)
        return consent_of(
            terms, self.state.approvals(model, version), release.artifact.digest, self.makers(release), now
        )

    def refused(self, model: str, version: int, now: datetime) -> str:
        """The policy that keeps a release from more traffic at this moment, and why; empty if none does."""
        run = self.run_of(release_of(self.state, model, version))
        finding = None if run is None else self._finding(run.document, version, now)
        return "" if finding is None else finding.message

    def timed(self, document: Mapping[str, Any], now: datetime) -> list[Finding]:
        """What policies about time alone would say of a deployment now."""
        policies = [policy for policy in policies_of(self._fresh()) if policy.timed]
        return self._judge(policies, document, None, now) if policies else []

    def makers(self, release: Release) -> list[str]:
        """Who made a release: who ran it, and whose commit it was made of."""
        run = self.run_of(release)
        if run is None:
            return []
        git = run.provenance.get("git")
        author = git.get("author") if isinstance(git, Mapping) else None
        return [str(name) for name in (run.provenance.get("user"), author) if name]

    def terms_of_run(self, release: Release) -> Terms | None:
        """What the spec asked for by which a release was made."""
        from engine.core.approval import terms_of

        run = self.run_of(release)
        deployment = None if run is None else run.document["deployment"]
        return terms_of(deployment) if isinstance(deployment, Mapping) else None

    def run_of(self, release: Release) -> Run | None:
        """The run that registered a release."""
        return next((run for run in self.state.runs(release.model, _RUNS) if run.run_id == release.run_id), None)

    def _finding(self, document: Mapping[str, Any], version: int, now: datetime) -> Finding | None:
        policies = [policy for policy in policies_of(self._fresh()) if policy.at_deploy and not policy.warns]
        findings = self._judge(policies, document, version, now) if policies else []
        return findings[0] if findings else None

    def _judge(
        self, policies: Sequence[Policy], document: Mapping[str, Any], version: int | None, now: datetime
    ) -> list[Finding]:
        from engine.kinds import KINDS
        from engine.spec.policies import facts_of, judge

        facts = facts_of(document, self.workspace.environment, KINDS.gates)
        if version is not None and any("release" in policy.names for policy in policies):
            facts["release"] = self._release(str(document["name"]), version)
        return judge(policies, facts, now)

    def _release(self, model: str, version: int) -> dict[str, Any]:
        release = release_of(self.state, model, version)
        meta = json.loads((self.workspace.artifacts.path(release.artifact) / "meta.json").read_text(encoding="utf-8"))
        metrics: Any = release.evidence.get("metrics") or {}
        return {
            "version": version,
            "format": meta.get("format"),
            "estimator": meta.get("estimator"),
            "metrics": {name: entry.get("value") for name, entry in metrics.items()},
            "first": self._stable(model) is None,
        }

    def _stable(self, model: str) -> int | None:
        endpoint = self.state.models([model])[model].endpoint
        return None if endpoint is None else endpoint.stable

    def _fresh(self) -> Workspace:
        """The project as its file is now: a controller outlives a change of it."""
        return Workspace(self.workspace.root, self.workspace.environment)


def awaited(workspace: Workspace, model: ModelState, releases: Sequence[Release]) -> str:
    """Whose approval a model's newest release awaits, in words; empty if nobody's."""
    endpoint, reader = model.endpoint or Endpoint(model.name), workspace.reader
    newest = max(releases, key=lambda release: release.version, default=None)
    rollout = reader.open_rollout(model.name) if endpoint.candidate is not None else None
    permitting = Permitting(workspace, reader)
    if newest is None:
        return ""
    if rollout is not None:
        version, terms = rollout.candidate, rollout.strategy.approval
    else:
        settled = newest.version in _served(endpoint) or endpoint.aborted
        version, terms = newest.version, None if settled else permitting.terms_of_run(newest)
    if terms is None or terms.informal:
        return ""
    consent = permitting.consent(model.name, version, terms, workspace.clock())
    return f"version {version} waits for approval: {consent.text}" if not consent.enough else ""


def _served(endpoint: Endpoint) -> tuple[int | None, ...]:
    return endpoint.stable, endpoint.candidate, endpoint.previous


_RUNS = 1_000  # among which that of a release is looked for


def release_of(state: StateQueries, model: str, version: int) -> Release:
    """One release. Raises NotFoundError."""
    found = state.releases(model)
    release = next((each for each in found if each.version == version), None)
    if release is None:
        known = ", ".join(str(each.version) for each in found) or "none yet"
        raise NotFoundError(f"{model} has no release {version}", remedy=f"Releases: {known}.")
    return release


# ── cases ────────────────────────────────────────────────────────────────────────────────────────────────────


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
