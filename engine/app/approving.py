"""Somebody's word on a release: approve or reject it, by a token or by a signed commit.

The word is about the release's artifact, by its digest, and stands in the state and in the audit log. A rollout that
waited for it goes on at once. Raises UsageError for who is not known, or whose word does not count.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from engine.app import delivering
from engine.app.inspecting import refuse_unknown
from engine.app.planning import find_specs, validate
from engine.app.policing import Permitting, release_of
from engine.app.tokens import token_file
from engine.app.workspace import Workspace
from engine.core.approval import Approval, Consent, Terms, refusal, terms_of
from engine.core.records import Release
from engine.core.rollout import Rollout
from engine.errors import EngineError, UsageError
from engine.serving.tokens import Door, Purpose

TOKEN_VARIABLE = "ENGINE_APPROVAL_TOKEN"  # noqa: S105 - its name
_GIT_SECONDS = 10.0
_FORMAT = "--format=%G?%x00%GS%x00%H%x00%s%x00%B"  # whether the signature is good, whose, which commit, what it says
_WORDS: Mapping[bool, str] = {True: "Approves", False: "Rejects"}


@dataclass(frozen=True)
class Identity:
    """Who speaks, and how that is known: `token`, or `commit HASH`. `reason` is what the commit says."""

    name: str
    method: str
    reason: str = ""


@dataclass(frozen=True)
class Word:
    """A word that was kept, and what came of it; `rollout` is that of this release, if there is one."""

    approval: Approval
    consent: Consent
    rollout: Rollout | None


@dataclass(frozen=True)
class Awaited:
    """A release that waits for people."""

    release: Release
    terms: Terms
    consent: Consent


def awaited(workspace: Workspace, model: str, version: int | None = None) -> Awaited:
    """What a version awaits, by default the candidate, else the newest one. Raises UsageError if it needs nobody."""
    state = workspace.reader
    refuse_unknown(model, state.list_models())
    rollout = state.open_rollout(model)
    newest = max((each.version for each in state.releases(model)), default=None)
    chosen = version or (rollout.candidate if rollout is not None else newest)
    if chosen is None:
        raise UsageError(f"{model} has no release yet", remedy="It gets one when its gates pass: engine apply")
    release = release_of(state, model, chosen)
    permitting = Permitting(workspace, state)
    going_on = rollout.strategy.approval if rollout is not None and rollout.candidate == chosen else None
    terms = going_on or _terms_of_spec(workspace, model) or permitting.terms_of_run(release)
    if terms is None:
        raise UsageError(
            f"version {chosen} of {model} needs no approval", remedy="deployment.approval in its spec asks for one."
        )
    return Awaited(release, terms, permitting.consent(model, chosen, terms, workspace.clock()))


def _terms_of_spec(workspace: Workspace, model: str) -> Terms | None:
    """What the model's spec asks for now, if there is one that can be read."""
    try:
        specs = validate(workspace, find_specs(workspace, []), {})
    except EngineError:
        return None
    found = next((spec.document for spec in specs if spec.document["name"] == model), None)
    return None if found is None else terms_of(found["deployment"])


def say(workspace: Workspace, wanted: Awaited, who: Identity, *, agrees: bool, reason: str) -> Word:
    """Keep somebody's word, and let the rollout go on. Raises UsageError for one that does not count."""
    release, terms = wanted.release, wanted.terms
    permitting = Permitting(workspace, workspace.store)
    why = refusal(terms, who.name, permitting.makers(release))
    if why is not None:
        raise UsageError(why, remedy="Nothing was kept.")
    text = reason or who.reason
    if not agrees and not text:
        raise UsageError("a rejection has a reason", remedy="Say it with --reason.")
    word = Approval(release.model, release.version, release.artifact.digest, agrees, who.name, who.method, text)
    kept = workspace.store.approve(word)
    if workspace.store.open_rollout(release.model) is not None:
        came = delivering.reconcile(workspace, [release.model])[release.model]
        if isinstance(came, EngineError):
            raise came
    consent = permitting.consent(release.model, release.version, terms, workspace.clock())
    last = next(iter(workspace.store.rollouts(release.model, 1)), None)
    return Word(kept, consent, last if last is not None and last.candidate == release.version else None)


def by_token(workspace: Workspace, secret: str) -> Identity:
    """Whoever holds a token for approvals. Raises UsageError for a text that is none."""
    name = Door(token_file(workspace), Purpose.APPROVE).who(b"Bearer " + secret.strip().encode())
    if name is None:
        raise UsageError(
            "this is no token for approvals",
            remedy="One is made by: engine token create --for approve --name NAME",
        )
    return Identity(name, "token")


def by_commit(workspace: Workspace, commit: str, release: Release, *, agrees: bool) -> Identity:
    """Whoever signed a commit that names the artifact. Raises UsageError unless git calls its signature good."""
    line = f"{_WORDS[agrees]}: {release.model} {release.artifact.digest}"
    try:
        answer = subprocess.run(  # noqa: S603 - fixed words, no shell
            ["git", "-C", str(workspace.root), "log", "-1", _FORMAT, "--end-of-options", commit, "--"],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        said = str(getattr(error, "stderr", "") or error).strip().splitlines()
        raise UsageError(f"git cannot show the commit {commit}: {said[-1] if said else error}") from None
    good, signer, full, subject, message = answer.stdout.split("\x00", 4)
    if good != "G" or not signer:
        raise UsageError(
            f"the commit {commit} has no signature that git calls good",
            remedy="Sign it (git commit -S), and name its key where git looks: gpg.ssh.allowedSignersFile.",
        )
    if line not in (each.strip() for each in message.splitlines()):
        raise UsageError(
            f"the commit {commit} does not speak of this artifact", remedy=f"A line of its message is: {line}"
        )
    return Identity(signer, f"commit {full}", subject)
