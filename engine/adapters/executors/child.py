"""One step, inside its own process: lay out its folder, run its function, report progress and the result.

The answer is JSON lines: `{"progress": [done, total, text]}` any number of times, then either `{"result": …}` or
`{"error": {…}}`. The result is also left in `workdir/result.json`, so that a run whose parent died can be resumed
without doing the work again.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

from engine.adapters.durable import sync
from engine.adapters.executors.template import REQUEST_FILE, RESULT_FILE, limit_memory, scratch_of
from engine.errors import EngineError
from engine.failpoints import failpoint
from engine.ports import StepContext, StepFunction, StepOutcome, StoredModel


def run_request(message: Mapping[str, Any], answers: TextIO) -> int:
    """Run the step; returns the process's exit code."""

    def tell(message: Mapping[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    try:
        result = _run(message, tell)
    except MemoryError:
        tell({"error": {"kind": "memory", "message": "it ran out of memory"}})
        return 1
    except EngineError as error:
        tell({"error": {"kind": "known", "message": error.message, "remedy": error.remedy}})
        return 1
    except SystemExit as error:
        tell({"error": {"kind": "unknown", "message": f"it called exit({error.code})"}})
        return 1
    except Exception as error:  # noqa: BLE001 - whatever the user's code raises becomes one message
        traceback.print_exc()
        tell({"error": {"kind": "unknown", "message": _one_line(error)}})
        return 1
    tell({"result": result})
    return 0


def _run(message: Mapping[str, Any], tell: Callable[[Mapping[str, Any]], None]) -> Mapping[str, Any]:
    workdir = Path(message["workdir"])
    request = json.loads((workdir / REQUEST_FILE).read_text(encoding="utf-8"))
    scratch = scratch_of(workdir)
    os.chdir(scratch)
    os.environ.update(message["environment"])
    limit_memory(request["memory"])
    secrets: Mapping[str, str] = message["secrets"]

    def progress(done: int, total: int, text: str) -> None:
        tell({"progress": [done, total, text]})

    context = StepContext(
        step=request["step"],
        settings=request["settings"],
        inputs={role: Path(path) for role, path in request["inputs"].items()},
        outputs={role: workdir / "out" / name for role, name in request["outputs"].items()},
        facts=request["facts"],
        project=Path(request["project"]),
        scratch=scratch,
        progress=progress,
        resolve=lambda reference: secrets.get(reference, reference),
        models={role: StoredModel(**model) for role, model in request["models"].items()},
    )
    failpoint("worker.begin")
    outcome = _function(request["function"])(context)
    missing = sorted(role for role, path in context.outputs.items() if not path.exists())
    if missing:
        raise EngineError(f"it did not write its output {', '.join(missing)}")
    for path in context.outputs.values():
        _sync(path)
    result = _as_json(outcome)
    failpoint("worker.result")
    leave_result(workdir, result)
    return result


def leave_result(workdir: Path, result: Mapping[str, Any]) -> None:
    """Write the result beside the outputs, complete or not at all."""
    temporary = workdir / f"{RESULT_FILE}.partial"
    temporary.write_text(json.dumps(result), encoding="utf-8")
    _sync(temporary)
    temporary.replace(workdir / RESULT_FILE)


def _sync(path: Path) -> None:
    """Flush a file, or a folder with all that is in it, to disk: a result must not outlive its outputs."""
    for each in (path, *path.rglob("*")) if path.is_dir() else (path,):
        sync(each)


def _function(name: str) -> StepFunction:
    module, _, attribute = name.partition(":")
    function: StepFunction = getattr(importlib.import_module(module), attribute)
    return function


def _as_json(outcome: StepOutcome) -> Mapping[str, Any]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "facts": dict(outcome.facts),
        "summary": outcome.summary,
        "verdict": outcome.verdict.value if outcome.verdict else None,
        "usage": {
            "cpu_seconds": round(usage.ru_utime + usage.ru_stime + children.ru_utime + children.ru_stime, 3),
            "peak_bytes": max(usage.ru_maxrss, children.ru_maxrss) * unit,
        },
    }


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or "no message"
    return f"{type(error).__name__}: {text[:500]}"
