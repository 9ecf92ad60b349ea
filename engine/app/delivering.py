"""Delivery: carry rollouts on, watch them, and what a person may want of one.

`reconcile` is one pass; `follow` passes until the rollouts have ended. `promote`, `pause`, `resume`, `abort`, `retry`
and `roll_back` are a person's wishes. Everything goes through `engine.runtime.deliver`. Raises UsageError for what is
not there, LockedError when somebody keeps a model's delivery.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from engine.app.cache import Cache
from engine.app.detecting import Detection, detection_of
from engine.app.inspecting import refuse_unknown
from engine.app.observing import ServingFolder
from engine.app.policing import Permitting
from engine.app.workspace import Workspace
from engine.core import rollout as rollouts
from engine.core.records import Endpoint
from engine.core.rollout import Decision, Phase, Rollout, Seen
from engine.errors import EngineError, NotFoundError, UsageError

if TYPE_CHECKING:
    from engine.ports import Observer
    from engine.runtime.deliver import Change, Delivery, Reconciled
    from engine.strategies.judging import Assessment

SERVING = "serving"  # the gateway's folder
ROLLBACK_MIRROR_SECONDS = 10.0
"""How long a rollback, which is done by then, waits for the registry's aliases to follow."""


@dataclass(frozen=True)
class EndpointChange:
    """An endpoint before and after. `unmirrored`: why the registry's aliases could not follow, empty if they did."""

    before: Endpoint
    after: Endpoint
    rollout: Rollout | None = None
    unmirrored: str = ""


@dataclass(frozen=True)
class Asked:
    """Whose wish it is, for the audit log; `tell` is called once it is done, before the registry's aliases follow."""

    by: str
    tell: Callable[[EndpointChange], None] = lambda _: None


@dataclass(frozen=True)
class Progress:
    """Where a model's delivery stands. `seen`, `assessment` and `detection` are of a rollout that goes on."""

    model: str
    endpoint: Endpoint | None
    rollout: Rollout | None
    seen: Seen | None = None
    assessment: Assessment | None = None
    detection: Detection | None = None


# ── wishes ───────────────────────────────────────────────────────────────────────────────────────────────────


def promote(workspace: Workspace, model: str, asked: Asked | None = None) -> EndpointChange:
    """Make the candidate the stable release; what fails is sent away all the same."""
    asked = asked or Asked(this_actor())
    seeing = observer(workspace)  # what fails by a guardrail of the user's own is not promoted either
    return _wish(workspace, model, asked, lambda rollout, seen: rollouts.wish_promote(rollout, seen, asked.by), seeing)


def pause(workspace: Workspace, model: str, asked: Asked | None = None) -> EndpointChange:
    """Stay where it is until somebody resumes."""
    asked = asked or Asked(this_actor())
    return _wish(workspace, model, asked, lambda rollout, _: rollouts.wish_pause(rollout, asked.by))


def resume(workspace: Workspace, model: str, asked: Asked | None = None) -> EndpointChange:
    """Go on."""
    asked = asked or Asked(this_actor())
    return _wish(workspace, model, asked, lambda rollout, seen: rollouts.wish_resume(rollout, asked.by, seen.consent))


def abort(workspace: Workspace, model: str, reason: str, asked: Asked | None = None) -> EndpointChange:
    """Send the candidate away; its deployment stays parked until the spec, the data or the code changes."""
    asked = asked or Asked(this_actor())
    text = reason or f"by {asked.by}"
    return _wish(workspace, model, asked, lambda rollout, _: rollouts.wish_abort(rollout, text))


def retry(workspace: Workspace, model: str, asked: Asked | None = None) -> EndpointChange:
    """Begin the rollout anew that was sent away last."""
    asked = asked or Asked(this_actor())
    with _delivery(workspace, model, asked.by) as delivery:
        return _mirrored(delivery, delivery.retry(model), asked)


def roll_back(
    workspace: Workspace, model: str, version: int | None, reason: str, asked: Asked | None = None
) -> EndpointChange:
    """Serve `version` (None: the release that was stable before) alone, at once."""
    asked = asked or Asked(this_actor())
    with _delivery(workspace, model, asked.by) as delivery:
        if version is not None:
            _refuse_unknown_release(workspace, model, version)
        change = delivery.roll_back(model, version, reason or f"by {asked.by}")
        workspace.registry.timeout = ROLLBACK_MIRROR_SECONDS
        return _mirrored(delivery, change, asked)


def _wish(
    workspace: Workspace,
    model: str,
    asked: Asked,
    decision_of: Callable[[Rollout, Seen], Decision],
    seeing: Observer | None = None,
) -> EndpointChange:
    with _delivery(workspace, model, asked.by, seeing) as delivery:
        return _mirrored(delivery, delivery.wish(model, decision_of), asked)


def _mirrored(delivery: Delivery, change: Change, asked: Asked) -> EndpointChange:
    asked.tell(EndpointChange(change.before, change.after, change.rollout))
    return EndpointChange(change.before, change.after, change.rollout, delivery.mirror(change.after.model))


def _refuse_unknown_release(workspace: Workspace, model: str, version: int) -> None:
    known = {release.version: release for release in workspace.reader.releases(model)}
    kept = [each for each, release in sorted(known.items()) if workspace.artifacts.has(release.artifact)]
    remedy = f"Releases: {', '.join(map(str, kept)) or 'none yet'}."
    if version not in known:
        raise NotFoundError(f"{model} has no release {version}", remedy=remedy)
    if version not in kept:
        raise UsageError(f"version {version} of {model} is not kept any more: its model is gone", remedy=remedy)


# ── passes ───────────────────────────────────────────────────────────────────────────────────────────────────


def reconcile(workspace: Workspace, names: Sequence[str] = ()) -> dict[str, Reconciled | EngineError]:
    """One pass over the named models, or over all with something to carry on. One's failure does not touch another."""
    reader = workspace.reader
    known = list(reader.list_models())
    for name in names:
        refuse_unknown(name, known)
    models = sorted(names or {*reader.open_rollouts(), *reader.unmirrored()})
    if not models:
        return {}
    came: dict[str, Reconciled | EngineError] = {}
    with _delivery(workspace, seeing=observer(workspace)) as delivery:
        for name in models:
            try:
                came[name] = delivery.reconcile(name)
            except EngineError as error:
                came[name] = error
    return came


def progress(workspace: Workspace, model: str) -> Progress:
    """Where a model's delivery stands now."""
    refuse_unknown(model, workspace.reader.list_models())
    return _progress(workspace, observer(workspace), model)


def follow(
    workspace: Workspace, models: Sequence[str], show: Callable[[Sequence[Progress]], None], stop: threading.Event
) -> list[Progress]:
    """Carry the rollouts of these models on until they have ended, or `stop` is set; `show` sees every pass."""
    for model in models:
        refuse_unknown(model, workspace.reader.list_models())
    numbers = {model: rollout.number for model, rollout in workspace.reader.open_rollouts().items()}
    seeing = observer(workspace)
    with _delivery(workspace, seeing=seeing) as delivery:
        while True:
            waits = [_pass(delivery, model) for model in models if model in numbers]
            found = [_progress(workspace, seeing, model, numbers.get(model)) for model in models]
            show(found)
            if stop.is_set() or not any(each.rollout is not None and each.rollout.is_open for each in found):
                break
            stop.wait(min(waits, default=0.0))
        for model in models:
            delivery.mirror(model)
    return found


def _pass(delivery: Delivery, model: str) -> float:
    from engine.runtime.deliver import Again

    came = delivery.advance(model)
    return came.seconds if isinstance(came, Again) else 0.0


def _progress(workspace: Workspace, seeing: ServingFolder, model: str, number: int | None = None) -> Progress:
    """Of one rollout if its number is given, else of the last."""
    found = workspace.reader.rollouts(model, 1_000 if number else 1)
    rollout = next((each for each in found if number in (None, each.number)), None)
    endpoint = workspace.reader.models([model])[model].endpoint
    if rollout is None or not rollout.is_open:
        return Progress(model, endpoint, rollout)
    now = workspace.clock()
    assessment = None if rollout.strategy.analysis is None else seeing.assessment(rollout, now)
    seen, terms = seeing.seen(rollout, now), rollout.strategy.approval
    if terms is not None:
        consent = Permitting(workspace, workspace.reader).consent(model, rollout.candidate, terms, now)
        seen = replace(seen, consent=consent)
    return Progress(model, endpoint, rollout, seen, assessment, _detection(workspace, rollout))


def _detection(workspace: Workspace, rollout: Rollout) -> Detection | None:
    if rollout.strategy.name != "canary":
        return None
    return detection_of(rollout.strategy.analysis or {}, rollout.present.weight, Cache(workspace.cache_file))


@lru_cache(maxsize=8)
def observer(workspace: Workspace) -> ServingFolder:
    """What can be seen of rollouts, with guardrails of the user's own: one for a process, so that each of them is asked
    at its interval, however many look."""
    from engine.app.measuring import Measurements

    return ServingFolder(workspace.home / SERVING, Measurements(workspace.resolve))


@contextmanager
def _delivery(
    workspace: Workspace, model: str | None = None, actor: str | None = None, seeing: Observer | None = None
) -> Iterator[Delivery]:
    """A delivery for a pass or a wish; the state must be there, and know the model. Its `actor` is us if not given."""
    from engine.adapters.state import holder
    from engine.runtime.deliver import Delivery
    from engine.runtime.leases import LeaseKeeper

    if model is not None:
        refuse_unknown(model, workspace.reader.list_models())
    store = workspace.store
    keeper = LeaseKeeper(store, holder.this_process(), threading.Event())
    try:
        yield Delivery(
            store=store,
            registry=workspace.registry,
            observer=seeing or ServingFolder(workspace.home / SERVING),
            hold_endpoint=keeper.hold_endpoint,
            clock=workspace.clock,
            actor=actor or this_actor(),
            permissions=Permitting(workspace, store),
        )
    finally:
        keeper.close()
        workspace.registry.close()


# ── who served when ──────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Service:
    """A time in which a release had one role and one share of the traffic. `until` is None while it goes on."""

    version: int
    role: str  # stable, candidate
    weight: float
    since: str
    until: str | None
    actor: str
    reason: str


def service(workspace: Workspace, model: str) -> list[Service]:
    """Who served when, with which share of the traffic and why, oldest first."""
    refuse_unknown(model, workspace.reader.list_models())
    ended: list[Service] = []
    serving: dict[tuple[int, str, float], Service] = {}
    for event in workspace.reader.audit():
        if event.subject != model or event.event not in ("endpoint changed", "model removed"):
            continue
        if event.event == "model removed":  # what comes after is another life
            ended, serving = [], {}
            continue
        now = _shares(event.details.get("after"))
        for key in [key for key in serving if key not in now]:
            was = serving.pop(key)
            ended.append(Service(*key, was.since, event.at, was.actor, was.reason))
        for key in now:
            serving.setdefault(key, Service(*key, event.at, None, event.actor, str(event.details.get("reason") or "")))
    return sorted([*ended, *serving.values()], key=lambda each: (each.since, each.role != "candidate"))


def _shares(endpoint: object) -> list[tuple[int, str, float]]:
    if not isinstance(endpoint, Mapping) or endpoint.get("stable") is None:
        return []
    weight = float(endpoint.get("weight") or 0)
    stable = (int(endpoint["stable"]), "stable", 1 - weight)
    candidate = endpoint.get("candidate")
    return [stable] if candidate is None else [stable, (int(candidate), "candidate", weight)]


def succeeded(found: Progress) -> bool:
    """Whether nothing was sent away: the candidate was promoted, or there was none."""
    return found.rollout is None or found.rollout.phase is Phase.PROMOTED


def this_actor() -> str:
    """Who we are in the audit log, when nobody else asked: `ana@box`."""
    from engine.adapters.state import holder

    return holder.actor(holder.this_process())
