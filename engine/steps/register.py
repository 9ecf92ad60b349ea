"""What is registered of a candidate: its parameters, measures, lineage and files, as one RegisterRequest.

`read_evidence` reads the reports of the steps upstream, `request_of` builds the request and is pure. The evidence is
the step's inputs and what is carried to it: `model`, `data`, `evaluation`, `predictions`, `figures`, `reference`,
`training`, `profile`, `schema`, `holdout`, `verdict`, with some gates `examination`. References to secrets stay
references; credentials in a source's URL are left out.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.core.canonical import Json, canonical_json, digest
from engine.core.records import Artifact
from engine.core.release_record import slices_in
from engine.errors import StepError
from engine.ports import RegisterRequest
from engine.steps import card
from engine.steps.snapshot import source_text

REPORTS = ("training", "evaluation", "schema", "profile", "examination")
FILES: Mapping[str, str] = {  # role → path in the tracking run
    "evaluation": "evaluation.json",
    "figures": "figures",
    "training": "training.json",
    "profile": "profile.json",
    "schema": "schema.json",
    "verdict": "verdict.json",
    "examination": "examination.json",
}
LIBRARIES: Mapping[str, tuple[str, ...]] = {  # format of the model → distributions that read it
    "skops": ("scikit-learn", "skops"),
    "pickle": ("scikit-learn", "cloudpickle"),
    "joblib": ("scikit-learn", "joblib"),
    "onnx": ("onnx", "onnxruntime"),
}
ALWAYS = ("numpy", "pandas")
_COLUMN_TYPES = {"numeric": "double", "boolean": "boolean", "date": "datetime"}
_LABEL = re.compile(r"[^A-Za-z0-9_./ -]")


@dataclass(frozen=True)
class Candidate:
    """What is to be registered. `document` is the resolved spec, `packages` the installed versions that matter.

    `provenance` says by whom and from where: `user`, `engine` (its version), `git` {commit, branch, dirty} or None.
    `code_digest` is that of the user's code, empty without any.
    """

    document: Mapping[str, Any]
    spec_digest: str
    key: str
    run_id: str
    provenance: Mapping[str, Any]
    packages: Mapping[str, str]
    code_digest: str = ""


@dataclass(frozen=True)
class Evidence:
    """The step's inputs by role: where they are, their digests, and the reports among them as they were read."""

    paths: Mapping[str, Path]
    digests: Mapping[str, str]
    reports: Mapping[str, Mapping[str, Any]]
    meta: Mapping[str, Any]  # of the model
    verdict: Mapping[str, Any] | None = None
    pictures: Mapping[str, bytes] = field(default_factory=dict)  # of the evaluation, by file name


def read_evidence(paths: Mapping[str, Path], artifacts: Mapping[str, Artifact]) -> Evidence:
    """Read the reports among the inputs. Raises StepError for one that cannot be read."""
    digests = {role: artifact.digest for role, artifact in artifacts.items()}
    reports = {role: _json(paths[role]) for role in REPORTS if role in paths}
    meta = paths["model"] / "meta.json"
    verdict = _json(paths["verdict"]) if "verdict" in paths else None
    pictures = card.pictures_in(paths.get("figures"))
    return Evidence(paths, digests, reports, _json(meta) if meta.is_file() else {}, verdict, pictures)


def request_of(candidate: Candidate, evidence: Evidence, experiment: str | None = None) -> RegisterRequest:
    """The request for this candidate. The experiment is called like the model unless it is named."""
    document = candidate.document
    found = card_of(candidate, evidence)
    return RegisterRequest(
        model=document["name"],
        experiment=experiment or document["name"],
        key=candidate.key,
        run_name=f"{document['name']} {candidate.run_id}",
        model_dir=evidence.paths["model"],
        params=params_of(document, evidence.reports.get("training", {})),
        metrics=metrics_of(evidence.reports.get("evaluation", {})),
        tags=tags_of(candidate, evidence),
        datasets=datasets_of(document, evidence),
        files={FILES[role]: path for role, path in evidence.paths.items() if role in FILES},
        texts={
            "spec.json": canonical_json(document) + "\n",
            "card.md": card.markdown(found),
            "card.html": card.html(found),
        },
        requirements=requirements_of(evidence.meta, candidate.packages),
        input_example=evidence.paths.get("holdout"),
    )


def card_of(candidate: Candidate, evidence: Evidence) -> card.Card:
    """The model card of a candidate, as it is known before its version is."""
    git: Mapping[str, Any] = candidate.provenance.get("git") or {}
    return card.card_of(
        card.Subject(
            document=candidate.document,
            reports=evidence.reports,
            verdict=evidence.verdict,
            run_id=candidate.run_id,
            commit=str(git.get("commit") or ""),
            clean=not git.get("dirty") if git else None,
            digests=evidence.digests,
            slices=slices_in(evidence.reports.get("examination")),
            figures=evidence.pictures,
        )
    )


def params_of(document: Mapping[str, Any], training: Mapping[str, Any]) -> dict[str, Json]:
    """What it was trained with: estimator, seed, split, and the parameters themselves as `params.<name>`."""
    split: Mapping[str, Any] = document["data"].get("split") or {}
    named = {name: training[name] for name in ("estimator", "task", "positive", "seed", "attempt") if name in training}
    tuning = training.get("tuning") or {}
    return {
        **{name: value for name, value in named.items() if value is not None},
        **{f"split.{name}": value for name, value in split.items() if value is not None},
        **({"tuning.metric": tuning["metric"], "tuning.trials": len(tuning["trials"])} if tuning else {}),
        **{f"params.{name}": _text(value) for name, value in (training.get("params") or {}).items()},
    }


def metrics_of(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """The finite metrics and the ends of their intervals: `f1_score`, `f1_score_low`, `f1_score_high`."""
    found: dict[str, float] = {}
    for name, entry in (evaluation.get("metrics") or {}).items():
        for suffix, part in (("", "value"), ("_low", "low"), ("_high", "high")):
            value = entry.get(part)
            if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
                found[f"{name}{suffix}"] = float(value)
    return found


def tags_of(candidate: Candidate, evidence: Evidence) -> dict[str, str]:
    """By what a version can be found again, and traced to what it was made of."""
    document, provenance = candidate.document, candidate.provenance
    git: Mapping[str, Any] = provenance.get("git") or {}
    tags = {
        "engine.model": document["name"],
        "engine.version": provenance.get("engine"),
        "engine.run_id": candidate.run_id,
        "engine.spec_digest": candidate.spec_digest,
        "engine.data_digest": evidence.digests.get("data"),
        "engine.model_digest": evidence.digests.get("model"),
        "engine.code_digest": candidate.code_digest,
        "engine.environment": digest(candidate.packages),
        "engine.owner": document.get("owner"),
        "mlflow.source.name": "engine",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": git.get("commit"),
        "mlflow.source.git.branch": git.get("branch"),
        "engine.git_dirty": "true" if git.get("dirty") else None,
        "mlflow.user": provenance.get("user"),
        "mlflow.note.content": document.get("description"),
    }
    labels = {f"label.{_LABEL.sub('_', name)}": str(value) for name, value in (document.get("labels") or {}).items()}
    return {name: str(value) for name, value in {**tags, **labels}.items() if value}


def datasets_of(document: Mapping[str, Any], evidence: Evidence) -> list[dict[str, Json]]:
    """The data it was made of and the hold-out it was measured on; no data is read."""
    schema = evidence.reports.get("schema", {})
    rows: Mapping[str, Any] = schema.get("rows") or {}
    columns = {
        feature["name"]: _COLUMN_TYPES.get(feature["kind"], "string") for feature in schema.get("features") or ()
    }
    source = source_text(document["data"]["source"]) or str(evidence.paths["data"].name)
    found: list[dict[str, Json]] = [
        {
            "name": evidence.paths["data"].name,
            "digest": evidence.digests["data"],
            "source": source,
            "context": "training",
            "schema": columns,
            "profile": {"rows": sum(rows.values())},
        }
    ]
    if "holdout" in evidence.digests:
        found.append(
            {
                "name": "holdout",
                "digest": evidence.digests["holdout"],
                "source": source,
                "context": "evaluation",
                "schema": columns,
                "profile": {"rows": rows.get("holdout", 0)},
            }
        )
    return found


def requirements_of(meta: Mapping[str, Any], installed: Mapping[str, str]) -> list[str]:
    """Pinned distributions that the model needs to be loaded: those of its format and its estimator's own."""
    versions = {**installed, **(meta.get("versions") or {})}
    package = str(meta.get("estimator", "")).partition(".")[0].partition(":")[0]
    names = (*ALWAYS, *LIBRARIES.get(meta.get("format", ""), ()), package)
    return [f"{name}=={versions[name]}" for name in sorted(set(names)) if name in versions]


def _text(value: Json) -> Json:
    return canonical_json(value) if isinstance(value, (list, Mapping)) else value


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StepError(f"{path.name} cannot be read: {error}", remedy="Run its step again with --replace.") from error
