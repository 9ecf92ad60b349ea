"""Which drift detectors there are, and what a spec may say of each. The tables only; what they do is done elsewhere.

Native ones are the engine's own tests. Those of alibi-detect go by their class names, `alibi_detect.KSDrift`; what it
has besides works on pictures, texts or networks, and not on tables.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

NATIVE = ("auto", "ks", "wasserstein", "jensen_shannon", "psi", "chi_squared", "mmd", "classifier", "adwin")
"""`adwin` watches the errors of labelled predictions; all others watch distributions."""
ALIBI = "alibi_detect."
NUMBERS = ("KSDrift", "CVMDrift", "TabularDrift")
CATEGORIES = ("ChiSquareDrift", "TabularDrift")
FLAGS = ("FETDrift",)
ROWS = ("MMDDrift", "LSDDDrift", "ClassifierDrift")
ONLINE = ("MMDDriftOnline", "LSDDDriftOnline", "CVMDriftOnline", "FETDriftOnline")
ALIBI_NAMES = tuple(dict.fromkeys((*NUMBERS, *CATEGORIES, *FLAGS, *ROWS, *ONLINE)))
NEEDS_TORCH = ("MMDDrift", "LSDDDrift", "MMDDriftOnline", "LSDDDriftOnline")
REQUIRED = {
    "MMDDriftOnline": ("ert", "window_size"),
    "LSDDDriftOnline": ("ert", "window_size"),
    "CVMDriftOnline": ("ert", "window_sizes"),
    "FETDriftOnline": ("ert", "window_sizes"),
}
"""Arguments without a default."""
RESERVED = (
    "x_ref", "p_val", "correction", "n_features", "x_ref_preprocessed", "preprocess_at_init", "preprocess_fn",
    "update_x_ref", "categories_per_feature", "input_shape", "data_type", "preprocess_batch_fn",
)  # fmt: skip
"""What the engine says itself."""
BACKENDS = {"ClassifierDrift": ("sklearn",), **dict.fromkeys(NEEDS_TORCH, ("pytorch",))}
"""The backends that can be had by a name and plain values."""
_OF_OTHERS = {
    "ContextMMDDrift": "needs a context for each row",
    "LearnedKernelDrift": "needs a kernel, which is code",
    "SpotTheDiffDrift": "needs a network's settings, and shows differences of pictures",
    "ClassifierUncertaintyDrift": "needs the model itself; the log has its predictions: leave `predictions` on",
    "RegressorUncertaintyDrift": "needs the model itself; the log has its predictions: leave `predictions` on",
}


class DetectorError(Exception):
    """What is wrong with a detector or its arguments, and how to mend it."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def check_detector(name: object) -> str:
    """The name, if there is such a detector. Raises DetectorError."""
    if isinstance(name, str):
        if name in NATIVE or (name.startswith(ALIBI) and name.removeprefix(ALIBI) in ALIBI_NAMES):
            return name
        own = name.removeprefix(ALIBI)
        if own in _OF_OTHERS and name.startswith(ALIBI):
            raise DetectorError(f"{name} {_OF_OTHERS[own]}", f"For tables there are {', '.join(ALIBI_NAMES)}.")
        every = {each.lower(): each for each in (*NATIVE, *(ALIBI + each for each in ALIBI_NAMES))}
        every |= {each.lower(): ALIBI + each for each in ALIBI_NAMES}
        near = get_close_matches(name.lower(), every, n=1)
        if near:
            raise DetectorError(f'there is no detector "{name}"', f'Did you mean "{every[near[0]]}"?')
    said = f'there is no detector "{name}"' if isinstance(name, str) else "a detector is a name"
    raise DetectorError(said, f"One of: {', '.join(NATIVE)}, or one of alibi-detect like {ALIBI}KSDrift.")


def check_arguments(detector: str, arguments: dict[str, Any] | None) -> None:
    """Whether a detector may be given these. Raises DetectorError.

    Names that only alibi-detect itself knows are checked when it is asked.
    """
    given = arguments or {}
    if not detector.startswith(ALIBI):
        if arguments is not None:
            raise DetectorError(f"{detector} takes no arguments", "Remove them; they are for alibi-detect's detectors.")
        return
    name = detector.removeprefix(ALIBI)
    if wrong := [key for key in given if key in RESERVED]:
        raise DetectorError(
            f"{', '.join(wrong)} of {detector} cannot be set",
            "Remove it: alpha is its p_val, and p-values are corrected over all columns.",
        )
    if missing := [key for key in REQUIRED.get(name, ()) if key not in given]:
        shown = ", ".join(f"{key}: …" for key in missing)
        raise DetectorError(f"{detector} needs {', '.join(missing)}", f"Add arguments: {{{shown}}}.")
    backend = given.get("backend")
    if name in BACKENDS and backend is not None and backend not in BACKENDS[name]:
        more = ", with model: a classifier's dotted name" if name == "ClassifierDrift" else ""
        raise DetectorError(
            f"{detector} cannot be had with the backend {backend}", f"Write backend: {BACKENDS[name][0]}{more}."
        )
