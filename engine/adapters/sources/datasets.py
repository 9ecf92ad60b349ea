"""scikit-learn's own data sets, by name: `sklearn:iris`."""

from __future__ import annotations

from pathlib import Path

from engine.errors import UsageError

DATASETS = ("breast_cancer", "diabetes", "digits", "iris", "wine")


def dataset_name(source: str) -> str:
    """The name in a source `sklearn:NAME`. Raises UsageError for one that there is not."""
    from difflib import get_close_matches

    name = source.removeprefix("sklearn:").strip()
    if name not in DATASETS:
        close = get_close_matches(name, DATASETS, n=1)
        meant = f'Did you mean "sklearn:{close[0]}"? ' if close else ""
        raise UsageError(
            f"scikit-learn brings no data set {name!r}", remedy=f"{meant}There are: {', '.join(DATASETS)}."
        )
    return name


def write_dataset(name: str, target: Path) -> int:
    """Write a data set as Parquet with its column `target`, classes by their names. Returns its rows."""
    from sklearn import datasets

    from engine.steps.table import write_parquet

    bunch = getattr(datasets, f"load_{name}")(as_frame=True)
    frame = bunch.frame
    if "target_names" in bunch:
        frame["target"] = [str(bunch.target_names[code]) for code in frame["target"]]
    write_parquet(frame, target)
    return len(frame)
