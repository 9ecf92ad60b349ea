"""The control API: its routes over the same use cases that the command line has. `control_of` makes the component.

Each request opens the project anew, so that requests share no connection; nothing is kept between them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from engine.app import delivering, inspecting, triggering
from engine.app.delivering import Asked, EndpointChange
from engine.app.documents import project_webhooks
from engine.app.inspecting import ModelStatus
from engine.app.showing import change_document, event_document, model_document, progress_document, run_document
from engine.app.workspace import Workspace
from engine.core.records import Event, EventKind
from engine.errors import NotFoundError, TransientError, UsageError
from engine.serving.control import Call, Control, Route
from engine.serving.hooks import MIN_SECRET, Verifier
from engine.serving.settings import Settings
from engine.serving.tokens import Door

_log = logging.getLogger("engine.control")
Answer = tuple[int, Mapping[str, Any]]
Text = Annotated[str, Field(max_length=triggering.MAX_REASON)]
_MODEL = "/v1/models/{name}"


class Nothing(BaseModel):
    """A wish that needs no words."""

    model_config = ConfigDict(extra="forbid")


class Why(Nothing):
    """`reason` stands in the record and in the audit log."""

    reason: Text = ""


class Back(Why):
    """`version`: this release, not the one that was stable before."""

    version: Annotated[int, Field(ge=1)] | None = None


class Trigger(Nothing):
    """A request for a retrain. Of one `id` the model takes one event, however often it is sent."""

    reason: Annotated[str, Field(min_length=1, max_length=triggering.MAX_REASON)]
    event: Annotated[str, Field(pattern=triggering.EVENT_PATTERN)] = ""
    id: Annotated[str, Field(pattern=triggering.ID_PATTERN)] | None = None


class Runs(Nothing):
    """Which runs."""

    model: str | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 50


def control_of(workspace: Workspace, settings: Settings, door: Door, announce: Callable[[str], None]) -> Control:
    """The control listener of a project. Raises UsageError for a webhook secret that is not there or too short."""
    secret = project_webhooks(workspace).get("secret")
    controls = _Controls(workspace, secret)
    if secret is not None:
        controls.secret()
    return Control(controls.routes(), door, settings, announce)


@dataclass(frozen=True)
class _Controls:
    """What each route does. `reference` is where the secret of deliveries is, if there is one."""

    workspace: Workspace
    reference: str | None
    verifier: Verifier = field(default_factory=Verifier)

    def routes(self) -> Sequence[Route]:
        """All of them."""
        wishes: list[tuple[str, str, type[BaseModel], Callable[[Workspace, Call, Asked], EndpointChange]]] = [
            ("rollout/promote", "Make the candidate the stable release.", Nothing, _promote),
            ("rollout/pause", "Stay at the present share.", Nothing, _pause),
            ("rollout/resume", "Go on after a pause.", Nothing, _resume),
            ("rollout/abort", "Send the candidate away.", Why, _abort),
            ("rollout/retry", "Begin the rollout anew that was sent away.", Nothing, _retry),
            ("rollback", "Serve the release that was stable before, or another one, at once.", Back, _roll_back),
        ]
        return (
            Route("GET", "/v1/models", "The models: what is live, rollouts with their evidence.", self._models),
            Route("GET", _MODEL, "One model.", self._model),
            Route("GET", f"{_MODEL}/rollout", "The last rollout, with its evidence.", self._rollout),
            Route("GET", f"{_MODEL}/releases", "Which release served when, and why.", self._releases),
            Route("GET", f"{_MODEL}/events", "The newest events of the inbox.", self._events),
            Route("GET", "/v1/runs", "The newest runs.", self._runs, query=Runs),
            *(
                Route("POST", f"{_MODEL}/{path}", summary, self._wish(act), body, changes=True)
                for path, summary, body, act in wishes
            ),
            Route(
                "POST", f"{_MODEL}/trigger", "Ask for a retrain.", self._trigger, Trigger, answers={202: "it is kept"}
            ),
            Route(
                "POST",
                "/hooks/{name}",
                "A signed delivery of another system.",
                self._hook,
                signed=True,
                answers={202: "it is kept", 401: "not signed with the secret, or too old"},
            ),
        )

    def secret(self) -> str:
        """The secret of deliveries, read now. Raises UsageError."""
        if self.reference is None:
            raise NotFoundError("no deliveries are taken here", remedy="Their secret is named in engine.yaml.")
        text = self.workspace.resolve(self.reference)
        if len(text) < MIN_SECRET:
            raise UsageError(
                f"webhooks.secret in engine.yaml is shorter than {MIN_SECRET} characters", remedy="openssl rand -hex 24"
            )
        return text

    @contextmanager
    def _opened(self) -> Iterator[Workspace]:
        workspace = replace(self.workspace)
        try:
            yield workspace
        finally:
            workspace.close()

    # ── looking ────────────────────────────────────────────────────────────────────────────────────────────────

    def _models(self, _: Call) -> Answer:
        with self._opened() as workspace:
            return 200, {"models": [_about(workspace, each) for each in inspecting.status(workspace)]}

    def _model(self, call: Call) -> Answer:
        with self._opened() as workspace:
            [found] = inspecting.status(workspace, [call.model])
            return 200, _about(workspace, found)

    def _rollout(self, call: Call) -> Answer:
        with self._opened() as workspace:
            return 200, progress_document(delivering.progress(workspace, call.model))

    def _releases(self, call: Call) -> Answer:
        with self._opened() as workspace:
            service = delivering.service(workspace, call.model)
            return 200, {"model": call.model, "service": [dict(vars(each)) for each in service]}

    def _events(self, call: Call) -> Answer:
        with self._opened() as workspace:
            inspecting.refuse_unknown(call.model, workspace.reader.list_models())
            return 200, {"events": [event_document(event) for event in workspace.reader.events(call.model)]}

    def _runs(self, call: Call) -> Answer:
        with self._opened() as workspace:
            runs = inspecting.history(workspace, call.query.model, call.query.limit)
            return 200, {"runs": [run_document(run) for run in runs]}

    # ── acting ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _wish(self, act: Callable[[Workspace, Call, Asked], EndpointChange]) -> Callable[[Call], Answer]:
        def carry_out(call: Call) -> Answer:
            with self._opened() as workspace:
                workspace.registry.timeout = delivering.ROLLBACK_MIRROR_SECONDS
                asked = Asked(call.actor, lambda change: call.tell(200, _changed(change)))
                return 200, _changed(act(workspace, call, asked))

        return carry_out

    def _trigger(self, call: Call) -> Answer:
        body: Trigger = call.body
        event = triggering.requested(call.model, body.reason, body.event, body.id, call.actor)
        with self._opened() as workspace:
            return _kept(event, triggering.put(workspace, event))

    def _hook(self, call: Call) -> Answer:
        try:
            secret = self.secret()
        except UsageError as error:
            if self.reference is None:
                raise
            _log.error("Deliveries cannot be checked: %s", error.message)
            raise TransientError("deliveries cannot be checked now", remedy="Send it again later.") from error
        delivery = self.verifier.check(call.model, secret, call.headers, call.raw, time.time())
        with self._opened() as workspace:
            if delivery.is_ping:
                inspecting.refuse_unknown(call.model, workspace.reader.list_models())
                return 200, {"accepted": False, "ping": True}
            event = Event(
                delivery.id, call.model, EventKind.WEBHOOK, delivery.event, _said(delivery.body), _sender(delivery.body)
            )
            return _kept(event, triggering.put(workspace, event))


def _promote(workspace: Workspace, call: Call, asked: Asked) -> EndpointChange:
    return delivering.promote(workspace, call.model, asked)


def _pause(workspace: Workspace, call: Call, asked: Asked) -> EndpointChange:
    return delivering.pause(workspace, call.model, asked)


def _resume(workspace: Workspace, call: Call, asked: Asked) -> EndpointChange:
    return delivering.resume(workspace, call.model, asked)


def _abort(workspace: Workspace, call: Call, asked: Asked) -> EndpointChange:
    return delivering.abort(workspace, call.model, call.body.reason, asked)


def _retry(workspace: Workspace, call: Call, asked: Asked) -> EndpointChange:
    return delivering.retry(workspace, call.model, asked)


def _roll_back(workspace: Workspace, call: Call, asked: Asked) -> EndpointChange:
    return delivering.roll_back(workspace, call.model, call.body.version, call.body.reason, asked)


def _about(workspace: Workspace, found: ModelStatus) -> dict[str, Any]:
    document = model_document(found)
    if found.rollout is not None and found.rollout.is_open:
        document |= progress_document(delivering.progress(workspace, found.name))
    return document


def _changed(change: EndpointChange) -> dict[str, Any]:
    # The registry's aliases follow after the answer.
    document = change_document(change)
    return {key: value for key, value in document.items() if key != "registry"}


def _kept(event: Event, new: bool) -> Answer:
    return (202 if new else 200), {"accepted": new, "id": event.id, "model": event.model}


def _said(body: Mapping[str, Any]) -> str:
    reason = body.get("reason") or body.get("ref")
    return reason[: triggering.MAX_REASON] if isinstance(reason, str) else ""


def _sender(body: Mapping[str, Any]) -> str:
    sender = body.get("sender")
    login = sender.get("login") if isinstance(sender, Mapping) else None
    return f"webhook:{login[:100]}" if isinstance(login, str) else "webhook"
