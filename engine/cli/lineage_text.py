"""The lineage of a release as text, from its record. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click

from engine.cli.outcome import gate_rows
from engine.cli.tables import render_fields, render_table
from engine.cli.words import count, duration, short_digest, size, when
from engine.core.release_record import approval_rows

MATTERS = ("scikit-learn", "numpy", "pandas", "pyarrow", "scipy", "mlflow", "xgboost", "lightgbm", "catboost")


def lineage_text(record: Mapping[str, Any]) -> str:
    """Which rows, code, environment, spec and seed; parents, runs and verdicts; every step with what it read."""
    release = record["release"]
    title = f"{release['model']}@{release['version']}" + (f" ({release['role']})" if release["role"] else "")
    fields = [*_rows(record), *_code(record), *_environment(record), *_spec(record)]
    fields += [("parents", f"{parent['release']}  {parent['as']}") for parent in record["parents"]]
    parts = [render_fields(title, [(name, text) for name, text in fields if text])]
    if record["runs"]:
        rows = [
            (run["run_id"], when(run["started_at"]), run["by"] or "", _commit(run), ", ".join(run["steps"]))
            for run in record["runs"]
        ]
        parts.append(render_table(("run", "started", "by", "commit", "worked out"), rows))
    steps = [_step(step) for step in record["steps"]]
    if steps:
        parts.append(render_table(("step", "took", "reads", "gave"), steps))
    verdict = record["verdict"] or {}
    if verdict.get("gates"):
        lines = [f"  {line}" for line in gate_rows(verdict["gates"])]
        parts.append("\n".join([f"{click.style('Verdict', bold=True)} {verdict['verdict']}", *lines]))
    words = [(when(at), by, said, why) for at, by, said, why in approval_rows(record)]
    if words:
        parts.append(render_table(("at", "by", "said", "why"), words))
    return "\n\n".join(parts)


def _rows(record: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    data = record["data"]
    source = data["source"]
    text = source.get("sql", "") if isinstance(source, Mapping) else source or data["name"] or ""
    yield "rows", "  ".join(part for part in (str(text), _digest(data["digest"]), _size(data["size"])) if part)
    tracked = data["dvc"]
    if tracked:
        at = f" at {tracked['revision']} ({tracked['commit'][:12]})" if tracked["revision"] else ""
        yield "DVC", f"md5 {tracked['md5']}{at}, {tracked['record']}, {tracked['remote'] or tracked['from']}"
    yield "table", f"{count(data['rows'], 'row')}" if data["rows"] is not None else ""
    yield "split", str(data["split"] or "")
    yield "feedback", _digest(data["feedback"])


def _code(record: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    code = record["code"]
    yield "code", _commit(code) if code["commit"] else "in no git repository"
    for file, digest in code["files"].items():
        yield "", f"{file}  {_digest(digest)}"


def _environment(record: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    environment = record["environment"]
    packages = environment["packages"]
    told = [f"python {environment['python']}"] if environment["python"] else []
    told += [f"{name} {packages[name]}" for name in MATTERS if packages.get(name)]
    yield "environment", ", ".join(told)


def _spec(record: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    yield "spec", _digest(record["spec"]["digest"])
    seed = record["seed"]
    told = [f"{name} {seed[name]}" for name in ("training", "split") if seed[name] is not None]
    yield "seed", ", ".join([*told, *([f"retry {seed['attempt']}"] if seed["attempt"] else [])])
    yield "parameters", ", ".join(f"{name}={value}" for name, value in record["parameters"].items())


def _step(step: Mapping[str, Any]) -> tuple[str, str, str, str]:
    gave = ", ".join(f"{role} {short_digest(artifact['digest'])}" for role, artifact in step["outputs"].items())
    return step["step"], duration(step["seconds"]), ", ".join(step["reads"].values()), gave


def _commit(code: Mapping[str, Any]) -> str:
    if not code["commit"]:
        return ""
    branch = f" on {code['branch']}" if code.get("branch") else ""
    return f"{code['commit'][:12]}{branch}, {'clean' if code['clean'] else 'with local changes'}"


def _digest(digest: Any) -> str:
    return f"blake3:{short_digest(str(digest))}" if digest else ""


def _size(number: Any) -> str:
    return size(number) if number is not None else ""
