"""A fitted model in a folder: its file, and meta.json that says how to read it and what it predicts.

`model.skops` where every type in it is on our own list of trusted types and it predicts the same after a round trip,
else `model.pkl` (cloudpickle, with the project's modules inside). A command may leave an MLflow model, `model.onnx`,
`model.skops`, `model.pkl` or `model.joblib`, or any files that its own predict command understands. The same data,
code and seed give the same bytes. A stored model is read only from bytes that have the digests of its record, and one
that runs code only when it is signed (IntegrityError).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from engine.core.canonical import canonical_json, digest_bytes
from engine.errors import IntegrityError, NotSupportedError, StepError
from engine.steps import foreign_models, skops_files, stored_files
from engine.steps.schema import Schema
from engine.steps.stored_files import StoredFile

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

META = "meta.json"
FILES: Mapping[str, str] = {
    "MLmodel": "mlflow",
    "model.onnx": "onnx",
    "model.skops": "skops",
    "model.pkl": "pickle",
    "model.joblib": "joblib",
}
RUNS_CODE = frozenset({"mlflow", "pickle", "joblib"})
"""Formats whose files run code of their own when they are read."""
_CHECKED_ROWS = 200


class Predictor(Protocol):
    """What every kind of model file becomes."""

    def predict(self, frame: pd.DataFrame) -> Any:
        """Labels or values. frame: (n, p) with the features' names → (n,)."""


@dataclass(frozen=True)
class LoadedModel:
    """A model and what it is. `predict_proba` is None when it gives no probabilities."""

    predictor: Predictor
    meta: Mapping[str, Any]

    @property
    def features(self) -> list[str]:
        """The names of the columns that it needs, in order."""
        return [feature["name"] for feature in self.meta["features"]]

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels that it tells apart, sorted; empty for a regressor."""
        return tuple(self.meta["classes"])

    def predict(self, frame: pd.DataFrame) -> Any:
        """Labels or values as the model itself gives them. frame: (n, ≥p) → (n,). Raises StepError."""
        return self.predictor.predict(self._features(frame))

    def predict_proba(self, frame: pd.DataFrame) -> NDArray[np.float64] | None:
        """Probabilities in the order of `classes`, (n, k); None when the model has none. Raises StepError."""
        method = getattr(self.predictor, "predict_proba", None)
        if method is None or not self.classes:
            return None
        return self._ordered(method(self._features(frame)))

    def answers(self, frame: pd.DataFrame) -> tuple[Any, NDArray[np.float64] | None]:
        """Predictions and probabilities, from one call where the model gives both at once."""
        if isinstance(self.predictor, foreign_models.CommandModel):
            predictions, probabilities = self.predictor.answers(self._features(frame))
            return predictions, self._ordered(probabilities)
        return self.predict(frame), self.predict_proba(frame)

    def _ordered(self, found: Any) -> NDArray[np.float64] | None:
        import numpy as np

        from engine.steps.schema import class_numbers

        if found is None:
            return None
        shares = np.asarray(found, dtype=np.float64)
        own = getattr(self.predictor, "classes_", self.classes)
        places = class_numbers(own, self.classes)
        if shares.ndim != 2 or shares.shape[1] != places.size or (places < 0).any():
            raise StepError(
                f"the model gives probabilities of shape {shares.shape} for the classes {', '.join(self.classes)}",
                remedy="predict_proba must have one column for each class, in the order of classes_.",
            )
        ordered = np.zeros((shares.shape[0], len(self.classes)))
        ordered[:, places] = shares
        return ordered

    def _features(self, frame: pd.DataFrame) -> pd.DataFrame:
        missing = [name for name in self.features if name not in frame.columns]
        if missing:
            raise StepError(f"the rows lack the feature {missing[0]}", remedy=f"It needs: {', '.join(self.features)}.")
        selected: pd.DataFrame = frame[self.features]
        return selected


@dataclass(frozen=True)
class Origin:
    """What meta.json says of a model besides its file."""

    schema: Schema
    estimator: str
    seed: int
    baseline: Mapping[str, Any]

    def to_meta(self) -> dict[str, Any]:
        """Plain values."""
        schema = self.schema
        return {
            "format_version": 1,
            "task": schema.task,
            "target": schema.target,
            "classes": list(schema.classes),
            "positive": schema.positive,
            "features": [{"name": f.name, "kind": f.kind} for f in schema.features],
            "estimator": self.estimator,
            "seed": self.seed,
            "rows": schema.rows.get("train"),
            "baseline": dict(self.baseline),
        }


def save(model: Any, folder: Path, origin: Origin, sample: pd.DataFrame, project: Path) -> Mapping[str, Any]:
    """Write a fitted model and its meta.json; returns the latter. `sample` is some rows to prove the file with.

    Raises StepError for a model that can be written in neither way.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = skops_files.dumped(model)
    if data is not None and not _reads_back(data, model, sample.head(_CHECKED_ROWS)):
        data = None
    name = "model.skops"
    if data is None:
        name, data = "model.pkl", _pickled(model, project)
    (folder / name).write_bytes(data)
    return describe(folder, name, origin)


def describe(folder: Path, name: str | None, origin: Origin) -> Mapping[str, Any]:
    """Write meta.json for a folder that holds a model in file `name` (None: a command's own files); returns it."""
    kind = "command" if name is None else FILES[name]
    meta = {
        **origin.to_meta(),
        "format": kind,
        "file": name,
        "digest": digest_bytes((folder / name).read_bytes()) if name is not None else None,
        "versions": _versions(origin.estimator),
    }
    (folder / META).write_text(canonical_json(meta) + "\n", encoding="utf-8")
    return meta


def found_in(folder: Path) -> str | None:
    """The model file that a command left in its folder; None when there is none that we can read."""
    return next((name for name in FILES if (folder / name).is_file()), None)


def command_model(
    folder: Path,
    predict: Sequence[str],
    scratch: Path,
    *,
    extra: Mapping[str, Path],
    environment: Mapping[str, str],
    signed: bool,
) -> LoadedModel:
    """The model in a folder, used through the command `predict`, which runs in `scratch`.

    The command gets `extra` inputs, and `environment` beside the process's own.
    Raises IntegrityError for a model that is not `signed`.
    """
    if not signed:
        raise _unsigned("the model may run code when the predict command reads it")
    meta = json.loads((folder / META).read_text(encoding="utf-8"))
    inputs = {**extra, "model": folder}
    command = foreign_models.CommandModel(tuple(predict), inputs, scratch, tuple(meta["classes"]), environment)
    return LoadedModel(command, meta)


def load_stored(files: Mapping[str, StoredFile], private: Path, *, signed: bool) -> LoadedModel:
    """A stored model: `files` by their paths in it, `signed` if our own training wrote them.

    Nothing but the verified bytes is read. What a library wants as a folder is copied to `private`, which must not
    exist yet and must stay while the model is used.
    Raises IntegrityError for what is not as it was stored or runs code and is not signed, NotSupportedError, StepError.
    """
    meta = json.loads(_file(files, META).read(META))
    kind, name = meta["format"], meta["file"]
    if kind == "command":
        raise NotSupportedError(
            "this model can only be used through its predict command", remedy="Name it in training.predict."
        )
    if kind in RUNS_CODE and not signed:
        raise _unsigned(f"{name} runs code when it is read")
    data = _file(files, name).read(name)
    if kind == "mlflow":
        stored_files.write_all({path: file.read(path) for path, file in files.items()}, private)
    return LoadedModel(_read(kind, private, data, meta), meta)


def _file(files: Mapping[str, StoredFile], name: str) -> StoredFile:
    if name not in files:
        raise IntegrityError(f"the release has no file {name}", remedy="Train again: --replace train")
    return files[name]


def _unsigned(what: str) -> IntegrityError:
    return IntegrityError(
        f"{what}, and was not signed by this project's training: it is not read",
        remedy="Train it here (engine apply --replace train), or copy .engine/key from the machine that did.",
    )


def _read(kind: str, folder: Path, data: bytes, meta: Mapping[str, Any]) -> Predictor:
    if kind == "skops":
        return cast(Predictor, skops_files.loaded(data))
    if kind == "onnx":
        names = [feature["name"] for feature in meta["features"]]
        return foreign_models.OnnxModel.of(data, names, meta["classes"])
    if kind == "mlflow":
        return cast(Predictor, foreign_models.mlflow_model(folder))
    import io

    if kind == "joblib":
        import joblib

        return cast(Predictor, joblib.load(io.BytesIO(data)))
    import cloudpickle

    return cast(Predictor, cloudpickle.loads(data))


def _reads_back(data: bytes, model: Any, sample: pd.DataFrame) -> bool:
    """Whether a skops file loads, and predicts the same as the model that it was made of."""
    import numpy as np

    try:
        read = skops_files.loaded(data)
    except Exception:  # noqa: BLE001 - skops may write what it cannot read
        return False
    for name in ("predict", "predict_proba"):
        method = getattr(model, name, None)
        if method is not None and not np.array_equal(
            np.asarray(method(sample)), np.asarray(getattr(read, name)(sample))
        ):
            return False
    return True


def _pickled(model: Any, project: Path) -> bytes:
    """The model with the project's own modules inside it, so that it loads where the project is not."""
    import cloudpickle

    root = project.resolve()
    own = [m for m in list(sys.modules.values()) if _lies_in(getattr(m, "__file__", None), root)]
    for module in own:
        cloudpickle.register_pickle_by_value(module)
    try:
        return cast(bytes, cloudpickle.dumps(model))
    except Exception as error:
        raise StepError(
            f"the model cannot be written: {error}", remedy="Keep open files, locks and generators out of it."
        ) from error
    finally:
        for module in own:
            cloudpickle.unregister_pickle_by_value(module)


def _lies_in(file: str | None, root: Path) -> bool:
    if not file:
        return False
    path = Path(file).resolve()
    installed = {"site-packages", "dist-packages"} & set(path.parts)
    return path.is_relative_to(root) and not installed


def _versions(estimator: str) -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    package = estimator.partition(".")[0]
    names = ["numpy", "pandas", "scikit-learn", "skops", "cloudpickle"]
    if package in ("xgboost", "lightgbm", "catboost"):
        names.append(package)
    versions = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
