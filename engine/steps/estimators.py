"""Estimators by dotted name, from packages that are allowed, checked before anything is fitted.

Only the named module is imported. A parameter that the estimator does not have is an error with a suggestion.
Seeds, thread counts and quietness are set where the user did not: the same data and seed give the same model.
"""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Literal, TypeAlias

from engine.errors import NotSupportedError, StepError
from engine.steps.schema import Schema

PACKAGES = ("sklearn", "xgboost", "lightgbm", "catboost")

Family: TypeAlias = Literal["histogram", "booster", "forest", "counts", "scaled"]
"""How features must be prepared: `histogram` and `booster` take numbers with gaps, `forest` numbers without, `counts`
numbers from 0 to 1, `scaled` numbers of about the same size."""

_HISTOGRAM = "sklearn.ensemble._hist_gradient_boosting"
_FORESTS = ("sklearn.tree", "sklearn.ensemble._forest", "sklearn.ensemble._gb", "sklearn.ensemble._weight_boosting")
_COUNTS = ("MultinomialNB", "ComplementNB")
_QUIET: Mapping[str, Mapping[str, Any]] = {
    "xgboost": {"verbosity": 0},
    "lightgbm": {"verbosity": -1, "deterministic": True, "force_col_wise": True},
    "catboost": {"verbose": False, "allow_writing_files": False},
}


def chosen(name: str, schema: Schema) -> str:
    """The dotted name that `auto` stands for: boosting, or a linear model where most features are texts."""
    if name != "auto":
        return name
    texts = len(schema.names("text"))
    if texts and texts >= len(schema.features) / 2:
        return "sklearn.linear_model.Ridge" if schema.is_regression else "sklearn.linear_model.LogisticRegression"
    kind = "Regressor" if schema.is_regression else "Classifier"
    return f"sklearn.ensemble.HistGradientBoosting{kind}"


def find(name: str, task: str) -> type[Any]:
    """The class of that dotted name, a classifier or regressor as the task needs. Raises StepError."""
    module_name, _, attribute = name.rpartition(".")
    package = name.partition(".")[0]
    if package not in PACKAGES or any(part.startswith("_") for part in name.split(".")):
        raise StepError(
            f"estimator {name} is not of an allowed package",
            remedy=f"Allowed: {', '.join(PACKAGES)}. For your own code use training.function.",
        )
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name == package:
            raise NotSupportedError(f"{package} is not installed", remedy=f"pip install {package}") from None
        raise StepError(f"there is no module {module_name}", remedy="Look up the estimator's full name.") from None
    found = getattr(module, attribute, None)
    if found is None:
        near = get_close_matches(attribute, dir(module), n=1)
        remedy = f'Did you mean "{module_name}.{near[0]}"?' if near else "Look up the estimator's full name."
        raise StepError(f"{module_name} has no estimator {attribute}", remedy=remedy)
    if not inspect.isclass(found) or not (hasattr(found, "fit") and hasattr(found, "predict")):
        raise StepError(f"{name} is not a class with fit and predict", remedy="Name an estimator.")
    _check_task(name, found, task)
    return found


def make(cls: type[Any], params: Mapping[str, Any], seed: int) -> Any:
    """An unfitted estimator with the user's parameters and our defaults. Raises StepError for unknown parameters."""
    check_parameters(cls, params)
    known, package = parameters(cls), _package(cls)
    ours: dict[str, Any] = {**_QUIET.get(package, {})}
    ours |= {name: seed for name in ("random_state", "random_seed") if name in known}
    if family(cls) in ("booster", "forest"):
        ours |= {name: _processors() for name in ("n_jobs", "thread_count") if name in known}
    if cls.__name__ == "LogisticRegression":
        ours["max_iter"] = 1000
    if "random_state" in ours:
        ours.pop("random_seed", None)  # CatBoost knows it by both names and wants one
    try:
        return cls(**{**ours, **params})
    except (TypeError, ValueError) as error:
        raise StepError(f"{cls.__name__} refuses its parameters: {error}", remedy="Mend training.params.") from None


def check_parameters(cls: type[Any], names: Iterable[str]) -> None:
    """Raise StepError, with what may have been meant, for a parameter that the estimator does not have."""
    known = parameters(cls)
    for name in names:
        if name not in known and not _is_alias(_package(cls), name):
            near = get_close_matches(name, known, n=1)
            remedy = f'Did you mean "{near[0]}"?' if near else f"It has: {', '.join(sorted(known))}."
            raise StepError(f"{cls.__name__} has no parameter {name}", remedy=remedy)


def parameters(cls: type[Any]) -> set[str]:
    """The names of all parameters of an estimator's constructor, inherited ones included."""
    names: set[str] = set()
    for base in cls.__mro__:
        constructor: Any = vars(base).get("__init__")
        if constructor is None or base is object:
            continue
        wanted = inspect.signature(constructor).parameters.values()
        names |= {p.name for p in wanted if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)} - {"self"}
        if not any(p.kind is p.VAR_KEYWORD for p in wanted):
            break
    return names


def family(cls: type[Any]) -> Family:
    """How this estimator's features must be prepared."""
    module = cls.__module__
    if module.startswith(_HISTOGRAM):
        return "histogram"
    if not module.startswith("sklearn"):
        return "booster"
    if module.startswith(_FORESTS) or cls.__name__.startswith("Bagging"):
        return "forest"
    return "counts" if cls.__name__ in _COUNTS else "scaled"


def takes_sparse(estimator: Any) -> bool:
    """Whether an estimator says that it takes sparse matrices."""
    from sklearn.utils import get_tags

    return bool(get_tags(estimator).input_tags.sparse)


def needs_numbered_classes(cls: type[Any]) -> bool:
    """Whether a classifier only takes 0 … k-1 for labels."""
    return cls.__module__.startswith("xgboost")


def _check_task(name: str, cls: type[Any], task: str) -> None:
    from sklearn.base import ClassifierMixin, RegressorMixin

    wanted, kind = (RegressorMixin, "regressor") if task == "regression" else (ClassifierMixin, "classifier")
    fits = issubclass(cls, wanted) or getattr(cls, "_estimator_type", None) == kind
    if not fits:
        other = (
            name.replace("Regressor", "Classifier") if kind == "classifier" else name.replace("Classifier", "Regressor")
        )
        hint = f"Did you mean {other}?" if other != name else f"Name a {kind}, or set training.task."
        raise StepError(f"the task is {task}, but {name} is not a {kind}", remedy=hint)


def _package(cls: type[Any]) -> str:
    return cls.__module__.partition(".")[0]


def _is_alias(package: str, name: str) -> bool:
    """LightGBM takes the names of its core library too, and each has aliases."""
    if package != "lightgbm":
        return False
    from lightgbm.basic import _ConfigAliases

    aliases: Mapping[str, Any] = _ConfigAliases._get_all_param_aliases()
    return name in aliases or any(name in spellings for spellings in aliases.values())


def _processors() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
