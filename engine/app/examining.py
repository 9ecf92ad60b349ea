"""Checking this installation and project, for `engine doctor`: every finding says what to do about it."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import sqlite3
import stat
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.app.inspecting import leases, verify_audit
from engine.app.workspace import Workspace
from engine.errors import EngineError


@dataclass(frozen=True)
class Finding:
    """One check of the doctor. `level` is `ok`, `note` (works, but know this) or `problem`."""

    check: str
    level: str
    text: str
    remedy: str = ""


@dataclass(frozen=True)
class Extra:
    """An optional part of the installation: what it is for, and the distributions that it needs."""

    name: str
    purpose: str
    needs: Sequence[str]


PACKAGES = (
    "mlflow",
    "scikit-learn",
    "pandas",
    "numpy",
    "pyarrow",
    "pydantic",
    "sqlalchemy",
    "alembic",
    "networkx",
    "matplotlib",
)
EXTRAS = (
    Extra("alibi", "drift detectors of alibi-detect (Business Source License)", ("alibi-detect",)),
    Extra("http", "data from https://", ("aiohttp",)),
    Extra("s3", "data from s3://", ("s3fs",)),
    Extra("gcs", "data from gs://", ("gcsfs",)),
    Extra("postgres", "a state in PostgreSQL", ("psycopg",)),
    Extra("boosters", "XGBoost and LightGBM", ("xgboost", "lightgbm")),
    Extra("openlineage", "OpenLineage events of runs", ("openlineage-python",)),
    Extra("signing", "signed evidence", ("model-signing", "pyopenssl")),
    Extra("sbom", "bills of materials", ("cyclonedx-python-lib",)),
)
LITTLE_SPACE = 1_000_000_000  # bytes

_CREDENTIALS = re.compile(r"://[^/@]*@")


def examine(workspace: Workspace) -> list[Finding]:
    """Check the installation and the project; every finding says what to do about it."""
    checks: Sequence[Callable[[Workspace], Iterable[Finding]]] = (
        _python,
        _packages,
        _extras,
        _git,
        _project,
        _permissions,
        _state,
        _leases,
        _tracking,
        _space,
    )
    return [finding for check in checks for finding in check(workspace)]


def _python(_workspace: Workspace) -> Iterable[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    supported = (3, 10) <= sys.version_info[:2] <= (3, 12)
    yield Finding(
        "python",
        "ok" if supported else "problem",
        f"{version} in {sys.prefix}",
        "" if supported else "Use Python 3.10, 3.11 or 3.12.",
    )


def _packages(_workspace: Workspace) -> Iterable[Finding]:
    installed = {name: _version(name) for name in PACKAGES}
    missing = [name for name, version in installed.items() if version is None]
    if missing:
        yield Finding(
            "packages", "problem", f"missing: {', '.join(missing)}", "Install engine again: pip install engine"
        )
    else:
        yield Finding("packages", "ok", ", ".join(f"{name} {version}" for name, version in installed.items()))


def _extras(_workspace: Workspace) -> Iterable[Finding]:
    for extra in EXTRAS:
        if all(_version(name) for name in extra.needs):
            yield Finding(f"extra {extra.name}", "ok", extra.purpose)
        else:
            yield Finding(
                f"extra {extra.name}",
                "note",
                f"not installed: {extra.purpose}",
                f'If you need it: pip install "engine[{extra.name}]"',
            )


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(workspace: Workspace) -> Iterable[Finding]:
    if shutil.which("git") is None:
        yield Finding("git", "note", "not installed, so runs do not record a commit", "Install git.")
    elif not any((folder / ".git").exists() for folder in (workspace.root, *workspace.root.parents)):
        yield Finding("git", "note", "this project is in no repository", "Begin one: git init")
    else:
        yield Finding("git", "ok", "runs record the commit that they were made from")


def _project(workspace: Workspace) -> Iterable[Finding]:
    from engine.app.planning import find_specs, validate

    try:
        found = validate(workspace, find_specs(workspace, []), {})
    except EngineError as error:
        first = str(error).partition("\n")[0]
        yield Finding("specs", "problem", first, error.remedy or "See all of it: engine validate")
    else:
        yield Finding("specs", "ok", f"{len(found)} valid in {workspace.root / 'specs'}")


def _permissions(workspace: Workspace) -> Iterable[Finding]:
    home = workspace.shared
    if not home.exists():
        writable = os.access(workspace.root, os.W_OK)
        yield Finding(
            "folder",
            "ok" if writable else "problem",
            f"{home} is made by the first apply",
            "" if writable else f"Allow yourself to write in {workspace.root}.",
        )
        return
    mode = stat.S_IMODE(home.stat().st_mode)
    if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        yield Finding("folder", "problem", f"{home} cannot be written", f"Take it over: sudo chown -R $USER {home}")
    elif mode & 0o077:
        yield Finding("folder", "note", f"{home} can be read by others ({mode:o})", f"Close it: chmod 700 {home}")
    else:
        yield Finding("folder", "ok", f"{home} is yours alone")


def _state(workspace: Workspace) -> Iterable[Finding]:
    try:
        lineage = workspace.reader.lineage()
        models = workspace.reader.list_models()
    except EngineError as error:
        yield Finding("state", "problem", error.message, error.remedy)
        return
    if not lineage.lineage:
        yield Finding("state", "ok", "none yet; the first apply makes it")
        return
    problems = verify_audit(workspace).problems
    if problems:
        yield Finding("state", "problem", f"audit log: {problems[0]}", "See all of it: engine audit verify")
    else:
        yield Finding(
            "state",
            "ok",
            f"{len(models)} {'model' if len(models) == 1 else 'models'}, serial {lineage.serial}, audit log intact",
        )


def _leases(workspace: Workspace) -> Iterable[Finding]:
    from engine.adapters.state import holder

    try:
        held = leases(workspace)
    except EngineError:
        return  # said by the check of the state
    for lease in held:
        if holder.is_dead(lease.holder):
            yield Finding(
                "leases",
                "note",
                f"{lease.model} is held by {holder.pretty(lease.holder)}, which is gone",
                "Nothing to do: the next apply takes it over.",
            )


def _tracking(workspace: Workspace) -> Iterable[Finding]:
    uri = workspace.tracking_uri
    if not uri.startswith("sqlite:///"):
        yield Finding("mlflow", "ok", f"records go to {_CREDENTIALS.sub('://', uri)}")
        return
    path = Path(uri.removeprefix("sqlite:///"))
    if not path.exists():
        yield Finding("mlflow", "ok", f"{path} is made by the first registration")
        return
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)
        try:
            runs = connection.execute("SELECT count(*) FROM runs").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        yield Finding("mlflow", "problem", f"{path}: {error}", "Restore it, or move it away to start an empty one.")
    else:
        yield Finding("mlflow", "ok", f"{runs} recorded {'run' if runs == 1 else 'runs'} in {path}")


def _space(workspace: Workspace) -> Iterable[Finding]:
    free = shutil.disk_usage(workspace.root).free
    text = f"{free / 1e9:.1f} GB free"
    if free < LITTLE_SPACE:
        yield Finding("disk", "problem", text, "Make room; what nothing needs any more goes with: engine state gc")
    else:
        yield Finding("disk", "ok", text)
