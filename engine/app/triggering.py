"""Events from outside: leaving one in the inbox. What acts on them is whoever carries the triggers on.

Raises NotFoundError for a model that the state does not know, TransientError while too many wait.
"""

from __future__ import annotations

import re
import uuid

from engine.app.inspecting import refuse_unknown
from engine.app.workspace import Workspace
from engine.core.records import Event, EventKind
from engine.errors import UsageError

MAX_REASON = 2000  # characters
ID_PATTERN = r"^[A-Za-z0-9._:-]{1,128}$"
EVENT_PATTERN = r"^[A-Za-z0-9._-]{0,64}$"


def put(workspace: Workspace, event: Event) -> bool:
    """Keep an event; False when the model knows one of its id already."""
    refuse_unknown(event.model, workspace.reader.list_models())
    return workspace.store.put(event)


def requested(model: str, reason: str, event: str, id: str | None, actor: str) -> Event:
    """A person's request; without an id each is one of its own. Raises UsageError for words that cannot be kept."""
    if not 0 < len(reason) <= MAX_REASON:
        raise UsageError(f"a reason has 1 to {MAX_REASON} characters", remedy="Say in a few words why.")
    for what, text, pattern in (("event", event, EVENT_PATTERN), ("id", id, ID_PATTERN)):
        if text is not None and not re.fullmatch(pattern, text):
            raise UsageError(f'"{text}" cannot be an {what}', remedy="Use letters, digits, ., _ and -.")
    return Event(id or uuid.uuid4().hex, model, EventKind.MANUAL, event, reason, actor)
