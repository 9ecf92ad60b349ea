"""Named places in the code at which a test can make the world break.

Inert unless `ENGINE_FAILPOINTS` arms one: `NAME=ACTION[@N]`, several separated by commas; N counts the hits
before it goes off (1 by default). Actions: `kill` (SIGKILL of this process), `stop` (SIGSTOP), `error`,
`enospc`, `eio` (an OSError), `sleep:SECONDS`. `ENGINE_FAILPOINTS_SEEN=FILE` appends the name of each point hit.
Every name is declared in `FAILPOINTS`; hitting an undeclared one is a programming error.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
import time

FAILPOINTS: dict[str, str] = {
    "state.create": "before a new state database is put in its place",
    "state.commit": "before a transaction of the state is committed",
    "state.committed": "after a transaction of the state was committed",
    "state.rollout": "inside a transaction, after an endpoint's row and before a rollout's",
    "artifacts.write": "while an artifact's bytes are written to a temporary file",
    "artifacts.sync": "before an artifact's temporary file is flushed to disk",
    "artifacts.rename": "before an artifact is renamed into its place",
    "artifacts.renamed": "after the rename, before its directory is flushed",
    "run.start": "after the lease is taken, before the run is recorded",
    "run.started": "after the run is recorded",
    "step.intent": "before a step's intent is recorded",
    "step.begin": "after the intent, before the step is started",
    "step.worked": "after the step's work, before its outputs are stored",
    "step.stored": "after the outputs are stored, before the step is recorded as done",
    "step.done": "after the step is recorded as done",
    "worker.begin": "in the worker, before the step's code runs",
    "worker.result": "in the worker, before its result is written",
    "register.search": "before the registry is searched for an earlier attempt",
    "register.run": "before the tracking run is created",
    "register.model": "before the model is logged",
    "register.version": "before the model version is created",
    "register.created": "after the model version was created, before it is read back",
    "register.alias": "before the registry's aliases are moved",
    "deploy.record": "before the endpoint's record is changed",
    "deploy.mirror": "after the endpoint's record was changed, before the registry mirrors it",
    "rollout.record": "before a rollout's next records are stored",
    "rollout.mirror": "after they were stored, before the registry mirrors them",
    "trigger.evaluated": "after the triggers were asked, before what they say is recorded",
    "trigger.recorded": "after a due trigger was recorded, before its events are taken up",
    "trigger.taken_up": "after its events were taken up, before anything is done about it",
    "trigger.settle": "after the retrain, before it is recorded what became of it",
    "alert.recorded": "after alerts were recorded, before anybody is told",
    "alert.send": "before a notice is sent",
    "alert.sent": "after a notice was taken, before it is recorded that it was",
    "run.finish": "before the run is recorded as finished",
    "monitor.add": "after a window was judged, before its report is kept",
    "monitor.update": "after labels were taken in, before the report is replaced",
    "lease.release": "before the lease is given back",
    "plan.save": "while a saved plan is written",
}

_hits: dict[str, int] = {}


def failpoint(name: str) -> None:
    """Do nothing, unless the environment arms `name`."""
    armed = os.environ.get("ENGINE_FAILPOINTS")
    seen = os.environ.get("ENGINE_FAILPOINTS_SEEN")
    if armed is None and seen is None:
        return
    if name not in FAILPOINTS:
        raise AssertionError(f"failpoint {name!r} is not declared")
    _hits[name] = _hits.get(name, 0) + 1
    if seen:
        with open(seen, "a", encoding="utf-8") as file:  # noqa: PTH123 - one write() of one line is atomic
            file.write(name + "\n")
    for item in (armed or "").split(","):
        target, _, action = item.partition("=")
        action, _, nth = action.partition("@")
        if target == name and _hits[name] == int(nth or 1):
            _go_off(name, action)


def _go_off(name: str, action: str) -> None:
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "stop":
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)  # this thread goes not one line further
    elif action == "enospc":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), f"failpoint {name}")
    elif action == "eio":
        raise OSError(errno.EIO, os.strerror(errno.EIO), f"failpoint {name}")
    elif action.startswith("sleep:"):
        time.sleep(float(action[6:]))
    elif action == "error":
        raise RuntimeError(f"failpoint {name}")
    else:
        raise AssertionError(f"failpoint {name}: unknown action {action!r}")
