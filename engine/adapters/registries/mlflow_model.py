"""The train step's model folder as a folder in MLflow's own model format.

The model's file is handed on, not loaded: what was evaluated is, byte for byte, what is registered, and no pickle is
opened here. `meta.json` says what it is; the signature comes from its features and from the types in the example.
All but a command's own files load by plain `mlflow.pyfunc.load_model`, where this package is not installed.
"""

from __future__ import annotations

import json
import platform
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from engine.errors import NotSupportedError, StepError
from engine.steps.skops_files import TRUSTED

_EXAMPLE_ROWS = 5
_JOBLIB_LOADER = "joblib_model"
_BUILD = ("pip", "setuptools", "wheel")


def write_model(request: Mapping[str, Any], folder: Path, *, run_id: str, model: Any) -> int:
    """Write the model into the empty `folder`, as part of the logged model `model`; returns its size in bytes.

    Raises StepError for a folder that is not what the train step writes, NotSupportedError for an unknown format.
    """
    source = Path(request["model_dir"])
    if (source / "MLmodel").is_file():
        _adopt(source, folder, run_id, model)
    else:
        _assemble(request, source, folder, run_id, model)
    return _size(folder)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _adopt(source: Path, folder: Path, run_id: str, model: Any) -> None:
    """A folder that is an MLflow model already: only its identity changes."""
    from mlflow.models import Model

    for path in source.rglob("*"):
        if path.is_file() and path != source / "MLmodel":
            _link(path, folder / path.relative_to(source))
    described = Model.load(str(source))
    described.run_id, described.model_id, described.model_uuid = run_id, model.model_id, model.model_id
    described.artifact_path = model.artifact_location
    described.save(str(folder / "MLmodel"))


def _assemble(request: Mapping[str, Any], source: Path, folder: Path, run_id: str, model: Any) -> None:
    from mlflow.models import Model

    meta = _meta(source)
    add_flavors = _FLAVORS.get(meta["format"])
    if add_flavors is None:
        raise NotSupportedError(f"a model in the format {meta['format']!r} cannot be registered in MLflow")
    example = _example(request["input_example"], meta)
    described = Model(
        artifact_path=model.artifact_location,
        run_id=run_id,
        model_uuid=model.model_id,
        model_id=model.model_id,
        signature=_signature(meta, example),
    )
    add_flavors(described, source, folder, meta)
    if example is not None:
        _save_example(described, example, folder)
    _write_environment(folder, request["requirements"])
    described.model_size_bytes = _size(folder)
    described.save(str(folder / "MLmodel"))


def _meta(source: Path) -> dict[str, Any]:
    try:
        meta: dict[str, Any] = json.loads((source / "meta.json").read_text(encoding="utf-8"))
        return {**meta, "format": meta["format"], "features": list(meta["features"])}
    except (OSError, ValueError, KeyError) as error:
        raise StepError(f"{source.name} is not a model folder: {error}", remedy="Train again.") from error


def _link(source: Path, target: Path) -> None:
    """Put a file in its place; MLflow copies it from there, once."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source.absolute())


# ── flavors: how each format is loaded ───────────────────────────────────────────────────────────────────────


def _add_sklearn(described: Any, source: Path, folder: Path, meta: Mapping[str, Any]) -> None:
    """What `mlflow.sklearn.save_model` would write for a skops file or a pickle."""
    skops = meta["format"] == "skops"
    name = "model.skops" if skops else "model.pkl"
    _link(source / name, folder / name)
    _add_pyfunc(described, "mlflow.sklearn", model_path=name, predict_fn="predict")
    described.add_flavor(
        "sklearn",
        pickled_model=name,
        sklearn_version=_version_of("scikit-learn"),
        serialization_format="skops" if skops else "cloudpickle",
        code=None,
        skops_trusted_types=_trusted_types(source / name) if skops else None,
    )


def _add_onnx(described: Any, source: Path, folder: Path, meta: Mapping[str, Any]) -> None:
    """What `mlflow.onnx.save_model` would write; parts of the model in other files come along."""
    for path in source.rglob("*"):
        if path.is_file() and path.name != "meta.json":
            _link(path, folder / path.relative_to(source))
    _add_pyfunc(described, "mlflow.onnx", data="model.onnx")
    described.add_flavor(
        "onnx",
        onnx_version=meta.get("versions", {}).get("onnx") or _version_of("onnx"),
        data="model.onnx",
        providers=["CPUExecutionProvider"],
        onnx_session_options=None,
        code=None,
    )


def _add_joblib(described: Any, source: Path, folder: Path, _: Mapping[str, Any]) -> None:
    """MLflow has no flavor for joblib files, so a loader of four lines goes with the model."""
    _link(source / "model.joblib", folder / "model.joblib")
    code = folder / "code" / f"{_JOBLIB_LOADER}.py"
    code.parent.mkdir()
    code.write_text("import joblib\n\n\ndef _load_pyfunc(path):\n    return joblib.load(path)\n", encoding="utf-8")
    _add_pyfunc(described, _JOBLIB_LOADER, data="model.joblib", code="code")


def _add_command(described: Any, source: Path, folder: Path, meta: Mapping[str, Any]) -> None:
    """Files that only the spec's own predict command understands: kept and versioned, not loadable by MLflow."""
    for path in source.rglob("*"):
        if path.is_file():
            _link(path, folder / "files" / path.relative_to(source))
    described.add_flavor("command", files="files", made_by=meta.get("estimator", ""))


def _add_pyfunc(described: Any, loader: str, **fields: str) -> None:
    import mlflow.pyfunc

    mlflow.pyfunc.add_to_model(
        described, loader_module=loader, conda_env="conda.yaml", python_env="python_env.yaml", **fields
    )


_FLAVORS: Mapping[str, Callable[[Any, Path, Path, Mapping[str, Any]], None]] = {
    "skops": _add_sklearn,
    "pickle": _add_sklearn,
    "joblib": _add_joblib,
    "onnx": _add_onnx,
    "command": _add_command,
}


def _trusted_types(file: Path) -> list[str]:
    """Those of the trusted types that are in a skops file, by its table of contents.

    Asking skops itself would import scikit-learn, for two to three seconds.
    """
    with zipfile.ZipFile(file) as archive:
        contents = archive.read("schema.json").decode()
    halves = {name: name.rpartition(".") for name in TRUSTED}
    return sorted(n for n, (module, _, own) in halves.items() if f'"{module}"' in contents and f'"{own}"' in contents)


# ── signature and example ────────────────────────────────────────────────────────────────────────────────────


def _example(path: str | None, meta: Mapping[str, Any]) -> Any:
    """The first rows of a Parquet file, features only, as a frame; None without a file."""
    if path is None:
        return None
    import pyarrow.parquet as pq

    names = [feature["name"] for feature in meta["features"]]
    with pq.ParquetFile(path) as file:
        nullable = _columns_with_nulls(file.metadata)
        batch = next(file.iter_batches(batch_size=_EXAMPLE_ROWS, columns=names), None)
    if batch is None:
        return None
    frame = batch.to_pandas()[names]
    for name in nullable & set(names):
        if frame[name].dtype.kind in "iu":
            frame[name] = frame[name].astype("float64")  # as pandas reads the whole column
    return frame


def _columns_with_nulls(metadata: Any) -> set[str]:
    found = set()
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        for index in range(row_group.num_columns):
            column = row_group.column(index)
            statistics = column.statistics
            if statistics is None or not statistics.has_null_count or statistics.null_count:
                found.add(column.path_in_schema)
    return found


def _signature(meta: Mapping[str, Any], example: Any) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    inputs: list[Any] = [
        ColSpec(_column_type(feature["kind"], None if example is None else example[feature["name"]]), feature["name"])
        for feature in meta["features"]
    ]
    if not inputs:
        return None  # a command that says nothing of what it reads
    return ModelSignature(inputs=Schema(inputs), outputs=Schema([ColSpec(_output_type(meta))]))


def _column_type(kind: str, values: Any) -> str:
    """MLflow's name of a column's type: as it is stored if that is known, else what its kind implies."""
    if values is not None:
        stored = {"b": "boolean", "i": "long", "u": "long", "f": "double", "M": "datetime"}.get(values.dtype.kind)
        if stored:
            return stored
        present = values.dropna()
        if len(present) and all(isinstance(value, bool) for value in present):
            return "boolean"
        return "string"
    return {"numeric": "double", "boolean": "boolean", "date": "datetime"}.get(kind, "string")


def _output_type(meta: Mapping[str, Any]) -> str:
    classes = meta.get("classes")
    if not classes:
        return "double"
    if all(isinstance(value, bool) for value in classes):
        return "boolean"
    if all(isinstance(value, int) for value in classes):
        return "long"
    return "string" if all(isinstance(value, str) for value in classes) else "double"


def _save_example(described: Any, example: Any, folder: Path) -> None:
    """Both forms that MLflow keeps: one to read back as a frame, one to post to a server."""
    split = example.to_json(orient="split", index=False, date_format="iso", double_precision=15)
    (folder / "input_example.json").write_text(split, encoding="utf-8")
    (folder / "serving_input_example.json").write_text(f'{{"dataframe_split": {split}}}', encoding="utf-8")
    described.saved_input_example_info = {
        "artifact_path": "input_example.json",
        "type": "dataframe",
        "pandas_orient": "split",
        "serving_input_path": "serving_input_example.json",
    }


# ── environment ──────────────────────────────────────────────────────────────────────────────────────────────


def _write_environment(folder: Path, requirements: list[str]) -> None:
    """`requirements.txt`, `python_env.yaml` and `conda.yaml`, as MLflow's own `save_model` writes them."""
    import yaml

    pinned = [f"mlflow=={_version_of('mlflow')}", *requirements]
    build = [f"{name}=={version}" for name in _BUILD if (version := _version_of(name))]
    python = platform.python_version()
    (folder / "requirements.txt").write_text("\n".join(pinned) + "\n", encoding="utf-8")
    python_env = {"python": python, "build_dependencies": build, "dependencies": ["-r requirements.txt"]}
    conda_env = {
        "name": "mlflow-env",
        "channels": ["conda-forge"],
        "dependencies": [f"python={python}", "pip", {"pip": pinned}],
    }
    for name, content in (("python_env.yaml", python_env), ("conda.yaml", conda_env)):
        (folder / name).write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def _version_of(distribution: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""
