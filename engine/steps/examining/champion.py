"""The champion's stored model, scored on the candidate's hold-out, and held against the candidate there.

Never what the champion once scored on other rows. What keeps it from being scored is an error: a feature that the rows
lack or that is of another kind now, other classes, another target, a file that cannot be read or runs code and was
not signed by this project's training.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from engine.errors import EngineError, StepError
from engine.stats.paired import Said, compare
from engine.steps.evaluate import ask, load
from engine.steps.examining.subject import SEED, Subject
from engine.steps.model_files import META, RUNS_CODE


def measure(request: Mapping[str, Any], subject: Subject) -> dict[str, Any]:
    """`{champion: None}`, or its version with the comparison by the metric."""
    says = champion_says(subject)
    if isinstance(says, dict):
        return says
    version, said = says
    metric, average = request["metric"], request.get("average")
    try:
        found = compare(
            subject.truth,
            subject.said,
            said,
            metric=metric,
            average=average,
            classes=subject.classes,
            positive=subject.schema.positive_number,
            seed=SEED,
        )
    except (KeyError, ValueError):
        return {"champion": version, "error": f"{metric} does not apply to a {subject.schema.task} task"}
    return {"champion": version, **found.to_json()}


@lru_cache(maxsize=1)
def champion_says(subject: Subject) -> dict[str, Any] | tuple[int, Said]:
    """The champion's version and what it says of the hold-out, or the answer where there is none or it cannot."""
    champion = subject.context.facts.get("champion")
    if champion is None:
        return {"champion": None}
    version = int(champion["version"])
    try:
        return version, _scored(subject)
    except EngineError as error:
        return {"champion": version, "error": error.message}
    except Exception as error:  # noqa: BLE001 - whatever an old model's code raises becomes one message
        return {"champion": version, "error": f"{type(error).__name__}: {error}"[:300]}


def _scored(subject: Subject) -> Said:
    """What the champion says of the candidate's hold-out. Raises EngineError, and whatever an old model raises."""
    gone = subject.context.facts["champion"].get("error")
    if gone:
        raise StepError(f"its model is not there any more: {gone}")
    folder, schema = subject.context.inputs["champion"], subject.schema
    meta = json.loads((folder / META).read_text(encoding="utf-8"))
    if meta["format"] in RUNS_CODE and not subject.context.facts["champion"].get("signed"):
        raise StepError(f"its {meta['format']} file runs code and was not signed by this project's training")
    for name, mine in (("task", schema.task), ("target", schema.target), ("positive", schema.positive)):
        if meta[name] != mine:
            raise StepError(f"its {name} was {meta[name]} and is {mine} now")
    if tuple(meta["classes"]) != schema.classes:
        raise StepError(f"it tells apart {', '.join(meta['classes'])}, the candidate {', '.join(schema.classes)}")
    kinds = {feature.name: feature.kind for feature in schema.features}
    for feature in meta["features"]:
        if feature["name"] not in subject.table.frame.columns:
            raise StepError(f"the rows lack its feature {feature['name']}")
        kind = kinds.get(feature["name"], feature["kind"])
        if kind != feature["kind"]:
            raise StepError(f"its feature {feature['name']} was {feature['kind']} and is {kind} now")
    table = subject.table.__class__(subject.table.frame, subject.table.target, subject.table.frame)
    answers = ask(load(subject.context, "champion"), table, schema)
    if answers.error:
        raise StepError(answers.error)
    return Said(answers.prediction, answers.probabilities)
