"""Drift detectors of alibi-detect, by their class names: `alibi_detect.KSDrift`.

Those of single features (KSDrift, CVMDrift, ChiSquareDrift, FETDrift, TabularDrift) are asked column by column, with
the values that are there: a NaN makes their p-values NaN, and that counts as "no drift" there. A column that they
cannot compare is compared by the engine's own test. Those of whole rows (MMDDrift, LSDDDrift, ClassifierDrift) and the
online ones get the features as one matrix of numbers without gaps, by `engine.stats.drift.joint`, against the
profile's sample of rows. An online detector begins anew with each batch. All p-values meet Benjamini and Hochberg.

alibi-detect is under the Business Source License, and it holds numpy below 2: an extra of its own.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from importlib.util import find_spec
from io import StringIO
from typing import Any

from engine.errors import NotSupportedError, StepError, UsageError
from engine.spec.detectors import (
    ALIBI,
    ALIBI_NAMES,
    CATEGORIES,
    FLAGS,
    NEEDS_TORCH,
    NUMBERS,
    ONLINE,
    RESERVED,
    ROWS,
    DetectorError,
    check_arguments,
)
from engine.stats.drift import Column, DriftReport, Finding, Profile, Settings
from engine.stats.drift import table as native
from engine.stats.drift.joint import NAME, encoded_rows
from engine.stats.drift.profile import (
    CategoricalReference,
    NumericReference,
    Reference,
    category_numbers,
    finite_sorted,
)
from engine.stats.drift.report import MIN_PRESENT

_CLASSIFIER = "sklearn.linear_model.LogisticRegression"


def check_with_alibi(
    profile: Profile, batch: Iterable[Column], settings: Settings, arguments: Mapping[str, Any]
) -> DriftReport:
    """Check a batch by the detector that `settings.detector` names, made with these arguments.

    Raises NotSupportedError where alibi-detect or PyTorch is missing, UsageError for a name or arguments that it does
    not have, StepError where it fails.
    """
    name = settings.detector.removeprefix(ALIBI)
    given = {column.key: column for column in batch}
    own = replace(settings, detector="auto")
    wanted = native.chosen(profile, own)
    make = _maker(name, settings, arguments)
    rows = next((column.rows for column in given.values()), 0)
    if (short := native.too_few(profile, rows, own)) is not None:
        return short
    if name in (*ROWS, *ONLINE):
        features = [reference for reference in wanted if reference.role == "feature"]
        findings = list(_of_rows(name, make, features, given, settings))
        wanted = [reference for reference in wanted if reference.role == "prediction"]
    else:
        findings = []
    for reference in wanted:
        column = given.get((reference.role, reference.name))
        each = native.examined(reference, column, rows, own)
        findings += [_asked(name, make, reference, column, finding) for finding in each]
    return native.concluded(profile, rows, findings, own)


# ── making a detector ────────────────────────────────────────────────────────────────────────────────────────


def _maker(name: str, settings: Settings, arguments: Mapping[str, Any]) -> Any:
    """A function from the reference, (n, d), and further arguments to the detector. Everything is checked here."""
    if name not in ALIBI_NAMES:
        raise UsageError(
            f"alibi-detect has no detector {name} for tables", remedy=f"Detectors: {', '.join(ALIBI_NAMES)}"
        )
    try:
        check_arguments(settings.detector, dict(arguments))
    except DetectorError as error:
        raise UsageError(str(error), remedy=error.remedy) from None
    if find_spec("alibi_detect") is None:
        raise NotSupportedError(
            f"the detector alibi_detect.{name} needs alibi-detect, which is not installed",
            remedy="pip install 'engine[alibi]', or leave `detector` out: the engine's own tests need nothing more.",
        )
    if name in NEEDS_TORCH and find_spec("torch") is None:
        raise NotSupportedError(
            f"alibi_detect.{name} needs PyTorch, which is not installed",
            remedy="pip install torch --index-url https://download.pytorch.org/whl/cpu, or write `detector: mmd`: the "
            "engine's own test of whole rows needs nothing more.",
        )
    with _quiet():
        import alibi_detect.cd as detectors

        kind = getattr(detectors, name)
    taken = inspect.signature(kind).parameters
    if wrong := [key for key in arguments if key not in taken and key != "model_params"]:
        known = [key for key in taken if key not in RESERVED]
        raise UsageError(
            f"alibi_detect.{name} has no argument {', '.join(wrong)}", remedy=f"Its arguments: {', '.join(known)}"
        )
    fixed = _fixed(name, taken, settings, arguments)
    return lambda reference, **more: kind(reference, **fixed, **more)


def _fixed(name: str, taken: Mapping[str, Any], settings: Settings, arguments: Mapping[str, Any]) -> dict[str, Any]:
    fixed = {key: value for key, value in arguments.items() if key != "model_params"}
    if "p_val" in taken:
        fixed["p_val"] = settings.alpha
    if "verbose" in taken:
        fixed.setdefault("verbose", False)
    if name in NEEDS_TORCH:
        fixed.setdefault("backend", "pytorch")
    if "n_permutations" in taken:
        fixed.setdefault("n_permutations", settings.permutations)
    if name == "ClassifierDrift":
        from engine.steps.estimators import find

        fixed.setdefault("backend", "sklearn")
        model = find(str(fixed.get("model", _CLASSIFIER)), "binary")
        fixed["model"] = model(**(arguments.get("model_params") or {}))
        fixed.setdefault("seed", settings.seed)
    return fixed


# ── single columns ───────────────────────────────────────────────────────────────────────────────────────────


def _asked(name: str, make: Any, reference: Reference, column: Column | None, own: Finding) -> Finding:
    """The engine's finding of a column with the detector's statistic and p-value, where it can compare such columns.

    The effect stays the engine's: how large a change is does not depend on who found it.
    """
    if own.test not in ("ks", "chi_squared") or own.p is None or column is None or not _compares(name, reference):
        return own
    more: dict[str, Any] = {}
    if isinstance(reference, NumericReference):
        before = reference.points[:, None]
        now = finite_sorted(replace(column, kind=reference.kind).numbers())[:, None]
    else:
        before, now = _coded(reference, column)
        if name in FLAGS and now.max() > 1:  # a third value: it compares two
            return own
        if name == "TabularDrift":
            more = {"categories_per_feature": {0: None}}
    with _quiet(), _seeded(0):
        said = _tried(name, lambda: make(before, **more).predict(now, drift_type="feature"))["data"]
    p, distance = float(said["p_val"][0]), float(said["distance"][0])
    if not math.isfinite(p):
        return replace(own, p=None, test=f"{ALIBI}{name}", reason="alibi-detect gives no p-value")
    return replace(own, test=f"{ALIBI}{name}", statistic=distance, p=min(1.0, max(0.0, p)))


def _compares(name: str, reference: Reference) -> bool:
    if isinstance(reference, NumericReference):
        return name in NUMBERS
    return name in CATEGORIES or (name in FLAGS and len(reference.names) == 2 and reference.exact)


def _coded(reference: CategoricalReference, column: Column) -> tuple[Any, Any]:
    """Categories as numbers, (n, 1) and (m, 1): by their place; what the reference does not name shares one."""
    import numpy as np

    counts = [*reference.counts.values(), reference.rest]
    before = np.repeat(np.arange(len(counts)), counts)
    plain = column.values.tolist() if hasattr(column.values, "tolist") else list(column.values)
    codes = category_numbers(plain, reference.names)
    codes = np.where(codes == -2, len(counts) - 1, codes)[codes != -1]
    return before[:, None], codes[:, None]


# ── whole rows ───────────────────────────────────────────────────────────────────────────────────────────────


def _of_rows(
    name: str, make: Any, features: Sequence[Reference], given: native.Given, settings: Settings
) -> Iterator[Finding]:
    test = f"{ALIBI}{name}"
    if name == "FETDriftOnline":
        features = [reference for reference in features if _compares("FETDrift", reference)]
    elif name == "CVMDriftOnline":
        features = [reference for reference in features if isinstance(reference, NumericReference)]
    before, now = encoded_rows(features, given, settings.seed)
    bare = Finding(NAME, "features", test, n=len(now), reference_n=len(before), min_effect=settings.min_effect or 0.0)
    if not features or min(len(before), len(now)) < MIN_PRESENT:
        yield replace(bare, reason="there are too few rows, or no features that it can compare")
        return
    if name == "FETDriftOnline":
        # Of the four columns of a flag: its frequent value, its rare one, missing, others.
        before, now = (rows[:, 1::4].astype(bool) for rows in (before, now))
    with _quiet(), _seeded(settings.seed):
        if name in ONLINE:
            yield _online(name, make, before, now, bare)
            return
        more = {"return_probs": False, "return_model": False} if name == "ClassifierDrift" else {}
        if name in NEEDS_TORCH:
            before, now = before.astype("float32"), now.astype("float32")
        said = _tried(name, lambda: make(before).predict(now, **more))["data"]
    p, distance = float(said["p_val"]), float(said["distance"])
    if not (math.isfinite(p) and math.isfinite(distance)):
        yield replace(bare, reason="alibi-detect gives no p-value")
        return
    yield replace(bare, statistic=distance, effect=max(0.0, distance), p=min(1.0, max(0.0, p)))


def _online(name: str, make: Any, before: Any, now: Any, bare: Finding) -> Finding:
    """Row after row until the first alarm. The statistic is the largest one in proportion to its threshold."""
    import numpy as np

    def rows() -> Finding:
        detector = make(before)
        most = 0.0
        for number, row in enumerate(now, start=1):
            said = detector.predict(row)["data"]
            with np.errstate(invalid="ignore", divide="ignore"):
                share = np.asarray(said["test_stat"], dtype=float) / np.asarray(said["threshold"], dtype=float)
            finite = share[np.isfinite(share)]
            most = max(most, float(finite.max()) if finite.size else 0.0)
            if said["is_drift"]:
                return replace(bare, verdict="drift", statistic=most, effect=most, n=number, reason=f"in row {number}")
        return replace(bare, verdict="no_drift", statistic=most, effect=most)

    found: Finding = _tried(name, rows)
    return found


# ── guards ───────────────────────────────────────────────────────────────────────────────────────────────────


def _tried(name: str, ask: Any) -> Any:
    try:
        return ask()
    except Exception as error:
        text = str(error).strip().splitlines()
        said = f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
        raise StepError(f"alibi_detect.{name} failed: {said}", remedy="Check the trigger's arguments.") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Its progress bars, warnings and prints are not for our users."""
    import logging
    import warnings

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """It draws from numpy's and PyTorch's global generators; they go on afterwards as if nothing had happened."""
    import numpy as np

    state = np.random.get_state()
    np.random.seed(seed)
    try:
        if find_spec("torch") is None:
            yield
            return
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        np.random.set_state(state)
