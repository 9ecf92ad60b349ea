"""Plans in a file: signed, usable once, and refused when the world has moved on.

The file holds what the plan was made for (lineage, serial, specs, observations, request) and what it would do.
Loading plans again and compares, so that what is applied is what was reviewed. The signature is an HMAC under a
key that only this project's `.engine` has.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.app.planning import Planned, plan
from engine.app.signing import signature
from engine.app.workspace import Workspace
from engine.core.canonical import Json, canonical_json, digest
from engine.core.plan import Action, Request, Reuse
from engine.errors import IntegrityError, StalePlanError, UsageError
from engine.failpoints import failpoint

FORMAT_VERSION = 1


def save_plan(workspace: Workspace, planned: Planned, path: Path) -> None:
    """Write the plan to a file, readable by its owner alone. Raises UsageError if the place cannot be written."""
    content = {"plan_id": secrets.token_hex(16), **_content(workspace, planned)}
    text = canonical_json({"plan": content, "signature": _sign(workspace, content)})
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text + "\n")
            failpoint("plan.save")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        message = f"the plan cannot be written to {path}: {error.strerror}"
        raise UsageError(message, remedy="Choose another place.") from error


def is_saved_plan(path: Path) -> bool:
    """Whether a file looks like a saved plan rather than a spec."""
    try:
        with path.open("rb") as file:
            return file.read(9) == b'{"plan":{'
    except OSError:
        return False


def load_plan(workspace: Workspace, path: Path) -> Planned:
    """The plan of a file, planned again and found the same.

    Raises IntegrityError for a file that this project did not write, StalePlanError saying what has moved.
    """
    content = _verified(workspace, path)
    request = _request(content["request"])
    if content["environment"] != workspace.environment:
        made_for = f"--env {content['environment']}" if content["environment"] else "no environment"
        raise UsageError(f"{path} was made with {made_for}", remedy="Apply it with the same.")
    files = [workspace.root / name for name in content["files"]]
    now = plan(workspace, files, variables=content["variables"], request=request)
    moved = list(_moved(content, _content(workspace, now)))
    if moved:
        remedy = "Nothing was changed. Plan again: engine plan --out FILE"
        raise StalePlanError(f"{path} is stale: {'; '.join(moved)}", remedy=remedy)
    return replace(now, saved=content["plan_id"])


def _content(workspace: Workspace, planned: Planned) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "lineage": planned.plan.lineage,
        "serial": planned.plan.serial,
        "environment": workspace.environment,
        "files": list(planned.files),
        "variables": dict(planned.variables),
        "request": {
            "replace": sorted(planned.request.replace),
            "targets": sorted(planned.request.targets),
            "refresh": planned.request.refresh,
        },
        "models": {
            name: {
                "spec": model.plan.spec_digest,
                "data": model.world.observations.contents.get("data"),
                "observations": digest(_observed(model.world.observations.__dict__)),
                "actions": [_action(action) for action in model.plan.actions],
            }
            for name, model in planned.models.items()
        },
    }


def _request(block: Mapping[str, Any]) -> Request:
    return Request(frozenset(block["replace"]), frozenset(block["targets"]), block["refresh"])


def _observed(observations: Mapping[str, Any]) -> dict[str, Json]:
    return {
        "contents": observations["contents"],
        "imports": {key: sorted(names) for key, names in observations["imports"].items()},
        "packages": observations["packages"],
    }


def _action(action: Action) -> Json:
    kind = type(action).__name__.lower()
    return [action.step, kind] if isinstance(action, Reuse) else [action.step, kind, action.reason.code.value]


def _moved(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What is not as it was when the plan was made, in words, the most telling first."""
    if before["lineage"] != now["lineage"]:
        yield "it was made for another state"
    elif before["serial"] != now["serial"]:
        yield f"the state has moved on (serial {before['serial']} → {now['serial']})"
    for name, planned in before["models"].items():
        current = now["models"].get(name)
        if current is None:
            yield f"{name} is no longer in its spec file"
            continue
        if planned["spec"] != current["spec"]:
            yield f"the spec of {name} has changed"
        if planned["data"] != current["data"]:
            yield f"the data of {name} has changed"
        elif planned["observations"] != current["observations"]:
            yield f"the code or the environment of {name} has changed"
        elif planned["actions"] != current["actions"] and planned["spec"] == current["spec"]:
            yield f"other steps of {name} would run"
    for name in now["models"].keys() - before["models"].keys():
        yield f"{name} is new"


def _verified(workspace: Workspace, path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        content: dict[str, Any] = document["plan"]
        signed = str(document["signature"])
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", remedy="Check the path.") from error
    except (ValueError, KeyError, TypeError):
        raise IntegrityError(f"{path} is not a saved plan", remedy="Make one with: engine plan --out FILE") from None
    if not hmac.compare_digest(signed, _sign(workspace, content)):
        raise IntegrityError(
            f"{path} was altered, or made by another project", remedy="Make a new one: engine plan --out FILE"
        )
    if content["format_version"] != FORMAT_VERSION:
        raise StalePlanError(f"{path} was made by another version of engine", remedy="Plan again: engine plan --out")
    return content


def _sign(workspace: Workspace, content: Json) -> str:
    return signature(workspace, "plan", canonical_json(content))
