"""A metric in groups of hold-out rows: those that the spec declares, or the worst ones that a search finds.

The search looks at half of the rows: every value (numbers and dates: every quarter) of each feature, and pairs of the
worst of them, by how surely the loss there is above the loss elsewhere (Welch's t; after Chung et al. 2019, "Slice
Finder"). What it finds is measured on the other half, which it has not seen: the worst of many looks worse than it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.errors import StepError
from engine.spec.metrics import METRICS
from engine.stats.paired import Said
from engine.stats.single import estimate
from engine.steps.examining.groups import groups_by, labels_of
from engine.steps.examining.subject import SEED, Subject

MOST_GROUPS = 200
MOST_CATEGORIES = 30  # of a feature that the search looks at
PAIRED = 8  # the worst single slices, which are looked at in pairs
ALIKE = 0.8  # two slices that share more of their rows are one
T_LEAST = 2.0


def measure(request: Mapping[str, Any], subject: Subject) -> dict[str, Any]:
    """`{groups: [{group, rows, small, value, low, high, reason}]}`, the worst first; `found` says who chose them."""
    if request.get("by") is None:
        return {"groups": _found(request, subject), "found": True}
    codes, names = groups_by(subject, request["by"], "slices.by")
    if len(names) > MOST_GROUPS:
        raise StepError(
            f"{request['by']} makes {len(names):,} groups", remedy=f"Name columns with at most {MOST_GROUPS} values."
        )
    groups = [_measured(request, subject, name, codes == number) for number, name in enumerate(names)]
    return {"groups": _worst_first(groups, request["metric"]), "found": False}


def _measured(request: Mapping[str, Any], subject: Subject, name: str, mask: Any) -> dict[str, Any]:
    rows = int(mask.sum())
    group: dict[str, Any] = {"group": name, "rows": rows, "small": rows < request["min_rows"]}
    said = subject.said
    part = Said(said.prediction[mask], None if said.probabilities is None else said.probabilities[mask])
    try:
        found = estimate(
            subject.truth[mask],
            part,
            metric=request["metric"],
            average=request.get("average"),
            classes=subject.classes,
            positive=subject.schema.positive_number,
            seed=SEED,
        )
    except KeyError:
        raise StepError(
            f"{request['metric']} does not apply to a {subject.schema.task} task", remedy="Name another metric."
        ) from None
    return {**group, **found.to_json()}


def _worst_first(groups: list[dict[str, Any]], metric: str) -> list[dict[str, Any]]:
    sign = 1 if METRICS[metric].better == "higher" else -1
    return sorted(groups, key=lambda group: (group["small"], group["value"] is None, sign * (group["value"] or 0.0)))


# ── the search ───────────────────────────────────────────────────────────────────────────────────────────────


def _found(request: Mapping[str, Any], subject: Subject) -> list[dict[str, Any]]:
    import numpy as np

    rows = len(subject.truth)
    seen = np.zeros(rows, dtype=bool)
    seen[np.random.default_rng(SEED).permutation(rows)[: rows // 2]] = True
    losses = _losses(subject, METRICS[request["metric"]].needs)
    single = _ranked(_single(subject, seen, request["min_rows"]), losses, seen)
    pairs = {
        f"{one}, {other}": mask & second
        for place, (_, one, mask) in enumerate(single[:PAIRED])
        for _, other, second in single[place + 1 : PAIRED]
        if one.partition(" = ")[0] != other.partition(" = ")[0]
    }
    large = {name: mask for name, mask in pairs.items() if (mask & seen).sum() >= request["min_rows"]}
    ranked = sorted([*single, *_ranked(large, losses, seen)], key=lambda each: -each[0])
    chosen: list[tuple[str, Any]] = []
    for t, name, mask in ranked:
        if t >= T_LEAST and len(chosen) < request["find"] and not any(_alike(mask, other) for _, other in chosen):
            chosen.append((name, mask))
    groups = [_measured(request, subject, name, mask & ~seen) for name, mask in chosen]
    return _worst_first(groups, request["metric"])


def _single(subject: Subject, seen: Any, least: int) -> dict[str, Any]:
    masks = {}
    for feature in subject.schema.features:
        labels = labels_of(subject.table.features[feature.name])
        counts = labels[seen].value_counts()
        if len(counts) > MOST_CATEGORIES or feature.kind == "text":
            continue
        for value, count in counts.items():
            if least <= count < seen.sum():
                masks[f"{feature.name} = {value}"] = (labels == value).to_numpy()
    return masks


def _ranked(masks: Mapping[str, Any], losses: Any, seen: Any) -> list[tuple[float, str, Any]]:
    """(t, name, mask), the surest first."""
    import numpy as np

    found = []
    for name, mask in masks.items():
        inside, outside = losses[mask & seen], losses[~mask & seen]
        if len(inside) < 2 or len(outside) < 2:
            continue
        spread = float(np.sqrt(inside.var(ddof=1) / len(inside) + outside.var(ddof=1) / len(outside)))
        if spread > 0:
            found.append((float(inside.mean() - outside.mean()) / spread, name, mask))
    return sorted(found, key=lambda each: (-each[0], each[1]))


def _losses(subject: Subject, needs: str) -> Any:
    """Of each row: log loss, 0 or 1, or the squared error. (n,)."""
    import numpy as np

    said = subject.said
    if subject.schema.is_regression:
        return (subject.truth - said.prediction) ** 2
    if needs == "probabilities" and said.probabilities is not None:
        at_truth = said.probabilities[np.arange(len(subject.truth)), subject.truth]
        return -np.log(np.clip(at_truth, 1e-6, 1))
    return (subject.truth != said.prediction).astype(float)


def _alike(one: Any, other: Any) -> bool:
    return float((one & other).sum()) > ALIKE * float((one | other).sum())
