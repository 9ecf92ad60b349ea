"""Hypothesis strategies of model_specs as plain values, and of the edits that users make to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

Spec = dict[str, Any]

_texts = st.text(st.characters(codec="utf-8", exclude_categories=("C",)), min_size=1, max_size=12).filter(
    lambda text: bool(text.strip()) and "$" not in text
)
_thresholds = st.integers(1, 99).map(lambda percent: percent / 100)


@st.composite
def gates(draw: st.DrawFn, retrain: bool = True) -> Any:
    """One gate or a list of them."""
    ways = ["stop", "retrain"] if retrain else ["stop"]
    blocks = []
    for metric in draw(st.lists(st.sampled_from(["f1_score", "accuracy", "roc_auc"]), min_size=1, unique=True)):
        block: Spec = {"metric": metric, "threshold": draw(_thresholds), "on_failure": draw(st.sampled_from(ways))}
        if block["on_failure"] == "retrain":
            block["retries"] = draw(st.integers(1, 3))
        blocks.append(block)
    return blocks[0] if len(blocks) == 1 and draw(st.booleans()) else blocks


deployments = st.one_of(
    st.just({"strategy": "recreate"}),
    st.integers(1, 99).map(lambda share: {"strategy": "canary", "initial_traffic": f"{share}%"}),
)

trainings = st.one_of(
    st.just({}),
    st.fixed_dictionaries(
        {
            "estimator": st.sampled_from(
                ["sklearn.linear_model.LogisticRegression", "sklearn.tree.DecisionTreeClassifier"]
            )
        },
        optional={"params": st.dictionaries(st.sampled_from(["C", "max_iter", "max_depth"]), st.integers(1, 9))},
    ),
    st.just({"function": "fitting:fit"}),
    st.just({"run": ["python", "fit.py", "${outputs.model}"], "predict": ["python", "guess.py"]}),
)


@st.composite
def own_steps(draw: st.DrawFn) -> list[Spec]:
    """A few steps of the user's own, each of which may read what is above it."""
    steps: list[Spec] = []
    for number in range(draw(st.integers(0, 3))):
        known = ["data", "check_data.profile", "rules.txt", *(f"own{i}.part" for i in range(number))]
        roles = draw(st.lists(st.sampled_from(known), min_size=1, max_size=3, unique=True))
        steps.append(
            {
                "name": f"own{number}",
                "run": ["python", f"own{number}.py"],
                "inputs": {f"in{i}": reference for i, reference in enumerate(roles)},
                "outputs": {"part": f"part{number}.csv"},
                "environment": draw(st.dictionaries(st.sampled_from(["A", "B"]), st.sampled_from(["1", "2"]))),
            }
        )
    return steps


@st.composite
def specs(draw: st.DrawFn, retrain: bool = True) -> Spec:
    """A valid model_spec."""
    steps = draw(own_steps())
    spec: Spec = {
        "name": "m",
        "data": {"source": "data/m.csv", "target": "y", "split": {"seed": draw(st.integers(0, 9))}},
        "steps": steps,
        "training": draw(trainings),
        "validation": draw(gates(retrain)),
        "deployment": draw(deployments),
    }
    if steps and draw(st.booleans()):
        spec["data"]["table"] = f"{steps[-1]['name']}.part"
    if draw(st.booleans()):
        spec["retrain_trigger"] = {"type": "scheduled", "cron": draw(st.sampled_from(["0 0 * * 0", "30 2 * * *"]))}
    return {**spec, **draw(metadata)}


metadata = st.fixed_dictionaries(
    {},
    optional={
        "description": _texts,
        "owner": _texts,
        "labels": st.dictionaries(st.sampled_from(["team", "tier"]), _texts),
    },
)


@st.composite
def reordered(draw: st.DrawFn, value: Any) -> Any:
    """The same mapping, its keys in another order at every depth; lists keep theirs."""
    if isinstance(value, dict):
        keys = draw(st.permutations(list(value)))
        return {key: draw(reordered(value[key])) for key in keys}
    if isinstance(value, list):
        return [draw(reordered(item)) for item in value]
    return value


edits: st.SearchStrategy[Callable[[Spec], Spec]] = st.sampled_from(
    [
        lambda spec: {**spec, "description": "another"},
        lambda spec: {**spec, "data": {**spec["data"], "split": {"seed": spec["data"]["split"]["seed"] + 1}}},
        lambda spec: {**spec, "training": {"estimator": "sklearn.naive_bayes.GaussianNB"}},
        lambda spec: {**spec, "training": {**spec["training"], "seed": spec["training"].get("seed", 0) + 1}},
        lambda spec: {**spec, "validation": {"metric": "f1_score", "threshold": 0.123}},
        lambda spec: {**spec, "deployment": {"strategy": "canary", "initial_traffic": 0.37}},
        lambda spec: {**spec, "steps": [{**s, "environment": {"NEW": "1"}} for s in spec["steps"]]},
    ]
)
"""Changes of a spec, each of which gives a valid spec again."""
