"""Model folders that run code of an attacker's when they are read as such files usually are: a canary file shows it.

Each maker turns a copy of a sound model's folder into an attack. `naive` reads it as a careless program would: what
does not leave the canary then would prove nothing.
"""

from __future__ import annotations

import functools
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from engine.core.canonical import digest_bytes
from engine.steps.model_files import META


class Evil:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self._canary = canary

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.system, (f"touch {self._canary}",)


def pickled(folder: Path, canary: Path) -> None:
    """A pickle, called what it is."""
    _model(folder, "pickle", "model.pkl", pickle.dumps(Evil(canary)))


def pickle_called_skops(folder: Path, canary: Path) -> None:
    """A pickle under the name, and the format, of a skops file."""
    _model(folder, "skops", "model.skops", pickle.dumps(Evil(canary)))


def pickle_called_onnx(folder: Path, canary: Path) -> None:
    """A pickle under the name, and the format, of an ONNX graph."""
    _model(folder, "onnx", "model.onnx", pickle.dumps(Evil(canary)))


def joblib_file(folder: Path, canary: Path) -> None:
    """A joblib file."""
    buffer = io.BytesIO()
    joblib.dump([Evil(canary)], buffer)
    _model(folder, "joblib", "model.joblib", buffer.getvalue())


def skops_partial(folder: Path, canary: Path) -> None:
    """A skops file whose model is a call of the shell."""
    from skops import io as skops_io

    data = skops_io.dumps(functools.partial(os.system, f"touch {canary}"))
    _model(folder, "skops", "model.skops", data)


def skops_constructor(folder: Path, canary: Path) -> None:
    """A skops file that has the shell called as the constructor of an object."""

    def text(value: str) -> dict[str, Any]:
        content = json.dumps(value)
        return {"__class__": "str", "__module__": "builtins", "__loader__": "JsonNode", "content": content}

    arguments = {"__class__": "tuple", "__module__": "builtins", "__loader__": "TupleNode"}
    call = {"__class__": "system", "__module__": "posix", "__loader__": "ConstructorFromReduceNode"}
    schema = {**call, "content": {**arguments, "content": [text(f"touch {canary}")], "__id__": 2}, "__id__": 1}
    _model(folder, "skops", "model.skops", _zipped({**schema, "protocol": 2, "_skops_version": "0.16.0"}, {}))


def skops_array(folder: Path, canary: Path) -> None:
    """A skops file with an array whose objects are pickled."""
    array, schema = io.BytesIO(), {"__class__": "ndarray", "__module__": "numpy", "__loader__": "NdArrayNode"}
    np.save(array, np.array([Evil(canary)], dtype=object), allow_pickle=True)
    document = {**schema, "type": "numpy", "file": "1.npy", "__id__": 1, "protocol": 2, "_skops_version": "0.16.0"}
    _model(folder, "skops", "model.skops", _zipped(document, {"1.npy": array.getvalue()}))


def mlflow_loader(folder: Path, canary: Path) -> None:
    """An MLflow model whose loader is a module that comes with it."""
    (folder / "code").mkdir()
    (folder / "code" / "evil_loader.py").write_text(f"import os\nos.system('touch {canary}')\n_load_pyfunc = print\n")
    flavor = "python_function: {loader_module: evil_loader, code: code, data: MLmodel}"
    _model(folder, "mlflow", "MLmodel", f"flavors:\n  {flavor}\n".encode())


def mlflow_pickle(folder: Path, canary: Path) -> None:
    """An MLflow model of scikit-learn's whose object is a pickle."""
    (folder / "model.pkl").write_bytes(pickle.dumps(Evil(canary)))
    flavor = "sklearn: {pickled_model: model.pkl, serialization_format: pickle, sklearn_version: '1.7'}"
    _model(folder, "mlflow", "MLmodel", f"flavors:\n  {flavor}\n".encode())


def mlflow_tag(folder: Path, canary: Path) -> None:
    """An MLmodel that is YAML with a call in it."""
    _model(folder, "mlflow", "MLmodel", f"flavors: !!python/object/apply:os.system ['touch {canary}']\n".encode())


def outside(folder: Path, canary: Path) -> None:
    """A skops model, as it says, whose file is a pickle somewhere else."""
    elsewhere = canary.with_name("elsewhere.pkl")
    elsewhere.write_bytes(pickle.dumps(Evil(canary)))
    _model(folder, "skops", "model.skops", b"")
    _meta(folder, {"format": "pickle", "file": str(elsewhere), "digest": digest_bytes(elsewhere.read_bytes())})


MAKERS: Mapping[str, Callable[[Path, Path], None]] = {
    maker.__name__: maker
    for maker in (
        pickled,
        pickle_called_skops,
        pickle_called_onnx,
        joblib_file,
        skops_partial,
        skops_constructor,
        skops_array,
        mlflow_loader,
        mlflow_pickle,
        mlflow_tag,
        outside,
    )
}


def naive(folder: Path) -> None:
    """Read what a folder says that it is, trusting it."""
    meta = json.loads((folder / META).read_text())
    data = (folder / meta["file"]).read_bytes()
    if meta["format"] == "joblib":
        joblib.load(folder / meta["file"])
    elif data[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            schema = json.loads(archive.read("schema.json"))
            if "1.npy" in archive.namelist():
                np.load(io.BytesIO(archive.read("1.npy")), allow_pickle=True)
                return
        if schema["__loader__"] == "ConstructorFromReduceNode":
            os.system(json.loads(schema["content"]["content"][0]["content"]))  # what skops would call
            return
        from skops import io as skops_io

        skops_io.loads(data, trusted=skops_io.get_untrusted_types(data=data))()
    elif meta["format"] == "mlflow":
        _naive_mlflow(folder)
    else:
        pickle.loads(data)


def _naive_mlflow(folder: Path) -> None:
    import runpy

    import yaml

    if (folder / "code").is_dir():
        runpy.run_path(str(folder / "code" / "evil_loader.py"))
    elif (folder / "model.pkl").is_file():
        pickle.loads((folder / "model.pkl").read_bytes())
    else:
        yaml.unsafe_load((folder / "MLmodel").read_text())


def _model(folder: Path, kind: str, name: str, data: bytes) -> None:
    (folder / json.loads((folder / META).read_text())["file"]).unlink()
    (folder / name).write_bytes(data)
    _meta(folder, {"format": kind, "file": name, "digest": digest_bytes(data)})


def _meta(folder: Path, changes: Mapping[str, str]) -> None:
    (folder / META).write_text(json.dumps({**json.loads((folder / META).read_text()), **changes}))


def _zipped(schema: Mapping[str, Any], files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        archive.writestr("schema.json", json.dumps(schema))
    return buffer.getvalue()
