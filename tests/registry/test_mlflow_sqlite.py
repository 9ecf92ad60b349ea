"""What lands in an MLflow store: read with MLflow's own client, and loaded where the engine is not installed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.adapters.registries.mlflow import MlflowRegistry
from engine.errors import NotSupportedError, StepError, UsageError
from engine.ports import RegisterRequest

Requests = Callable[..., RegisterRequest]

pytestmark = [  # MLflow, used here as anybody would use it, uses what its dependencies deprecate
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

LOAD = """
import json, sys
sys.modules["engine"] = None  # as if it were not installed
import mlflow, mlflow.sklearn, pandas
store, table, *uris = sys.argv[1:]
mlflow.set_tracking_uri(store)
rows = pandas.read_parquet(table)
def native(uri, generic):
    has = "sklearn" in generic.metadata.flavors
    return list(mlflow.sklearn.load_model(uri).predict(rows)) if has else None
for uri in uris:
    generic = mlflow.pyfunc.load_model(uri)
    example = mlflow.models.Model.load(uri).load_input_example()
    print(json.dumps({
        "pyfunc": list(generic.predict(rows)),
        "sklearn": native(uri, generic),
        "example": list(generic.predict(example)),
        "inputs": generic.metadata.signature.inputs.to_dict(),
        "outputs": generic.metadata.signature.outputs.to_dict(),
    }))
"""


def logged_model(client: Any, model: str, version: int) -> Any:
    return client.get_logged_model(client.get_model_version(model, str(version)).source.removeprefix("models:/"))


def files_of(client: Any, model: str, version: int) -> Path:
    return Path(logged_model(client, model, version).artifact_location)


def test_models_load_without_the_engine(
    registry: MlflowRegistry, model: str, request_for: Requests, trained: Any, store: Path, client: Any
) -> None:
    made = trained("skops")
    skops = registry.register(request_for(model, "skops"))
    pickled = registry.register(request_for(model, "pickle", model_dir=trained("pickle").folder))
    joblib = registry.register(request_for(model, "joblib", model_dir=trained("joblib").folder))
    own = files_of(client, model, 1)
    adopted = registry.register(request_for(model, "adopted", model_dir=own))
    uris = [skops.uri, pickled.uri, adopted.uri, joblib.uri]
    done = subprocess.run(
        [sys.executable, "-c", LOAD, f"sqlite:///{store}", str(made.example), *uris],
        capture_output=True,
        text=True,
        check=False,
        cwd=store.parent,
    )
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines()[-4:]:
        loaded = json.loads(line)
        assert loaded["pyfunc"] == list(made.predictions)
        assert loaded["sklearn"] in (list(made.predictions), None)
        assert loaded["example"] == list(made.predictions[:5])
        types = {column["name"]: column["type"] for column in loaded["inputs"]}
        assert types == {"charge": "double", "tenure": "long", "plan": "string", "paperless": "boolean"}
        assert [column["type"] for column in loaded["outputs"]] == ["string"]
    assert [json.loads(line)["sklearn"] is None for line in done.stdout.splitlines()[-4:]] == [
        False,
        False,
        False,
        True,
    ]


def test_run_tells_everything(registry: MlflowRegistry, model: str, request_for: Requests, client: Any) -> None:
    long = "x" * 10_000
    made = registry.register(request_for(model, "k", params={"n_estimators": 5, "vocabulary": long}))
    run = client.get_run(made.run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == f"{model} 1"
    assert run.data.params["n_estimators"] == "5"
    assert run.data.params["vocabulary"].endswith("… (10000 characters)")
    assert run.data.metrics == {"f1_score": 0.61, "f1_score_low": 0.58}
    assert run.data.tags["engine.key"] == "k"
    assert run.data.tags["mlflow.source.git.commit"] == "0123abc"
    dataset = run.inputs.dataset_inputs[0].dataset
    assert (dataset.name, json.loads(dataset.profile)) == ("churn.csv", {"rows": 200})
    assert dataset.digest == ("ab" * 32)[:36]
    assert {file.path for file in client.list_artifacts(made.run_id)} == {"evaluation.json", "figures", "spec.json"}
    assert [file.path for file in client.list_artifacts(made.run_id, "figures")] == ["figures/roc_curve.png"]
    version = client.get_model_version(model, "1")
    assert version.tags == {"engine.key": "k", "engine.model": model, "mlflow.source.git.commit": "0123abc"}
    assert {metric.key for metric in logged_model(client, model, 1).metrics} == {"f1_score", "f1_score_low"}


def test_changes_by_hand_are_seen(registry: MlflowRegistry, model: str, request_for: Requests, client: Any) -> None:
    for key in ("k1", "k2"):
        registry.register(request_for(model, key))
    registry.set_aliases(model, {"champion": 1})
    client.set_registered_model_alias(model, "champion", "2")
    assert registry.aliases(model) == {"champion": 2}
    client.delete_model_version(model, "2")
    assert registry.aliases(model) == {}
    assert registry.find(model, "k2") is None
    assert registry.register(request_for(model, "k2")).version == 3


def test_without_an_example_the_kinds_decide(
    registry: MlflowRegistry, model: str, request_for: Requests, client: Any
) -> None:
    import mlflow

    made = registry.register(request_for(model, "k", input_example=None))
    signature = mlflow.models.Model.load(str(files_of(client, model, made.version))).signature
    assert {c.name: c.type.name for c in signature.inputs} == {
        "charge": "double",
        "tenure": "double",
        "plan": "string",
        "paperless": "boolean",
    }


def test_files_of_a_command_are_kept(
    registry: MlflowRegistry, model: str, request_for: Requests, client: Any, tmp_path: Path
) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "0.bin").write_bytes(b"01")
    (tmp_path / "meta.json").write_text('{"format": "command", "features": [], "classes": []}')
    made = registry.register(request_for(model, "k", model_dir=tmp_path, input_example=None))
    assert (files_of(client, model, made.version) / "files" / "weights" / "0.bin").read_bytes() == b"01"


def test_onnx_model(registry: MlflowRegistry, model: str, request_for: Requests, client: Any, tmp_path: Path) -> None:
    from mlflow.models import Model

    (tmp_path / "model.onnx").write_bytes(b"onnx")
    meta = {"format": "onnx", "features": [{"name": "charge", "kind": "numeric"}], "classes": []}
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    made = registry.register(request_for(model, "k", model_dir=tmp_path))
    flavors = Model.load(str(files_of(client, model, made.version))).flavors
    assert flavors["onnx"]["data"] == flavors["python_function"]["data"] == "model.onnx"
    assert flavors["python_function"]["loader_module"] == "mlflow.onnx"


def test_unknown_format(registry: MlflowRegistry, model: str, request_for: Requests, tmp_path: Path) -> None:
    (tmp_path / "meta.json").write_text('{"format": "word2003", "features": []}')
    with pytest.raises(NotSupportedError, match="'word2003'"):
        registry.register(request_for(model, "k", model_dir=tmp_path))
    assert registry.find(model, "k") is None


def test_not_a_model_folder(registry: MlflowRegistry, model: str, request_for: Requests, tmp_path: Path) -> None:
    with pytest.raises(StepError, match="not a model folder"):
        registry.register(request_for(model, "k", model_dir=tmp_path))


def test_deleted_experiment(registry: MlflowRegistry, model: str, request_for: Requests, client: Any) -> None:
    client.delete_experiment(client.create_experiment(model))
    with pytest.raises(UsageError, match="was deleted") as raised:
        registry.register(request_for(model, "k"))
    assert "restore" in raised.value.remedy


def test_key_that_cannot_be_searched(registry: MlflowRegistry, model: str) -> None:
    with pytest.raises(UsageError, match="quotation mark"):
        registry.find(model, "it's")


def test_database_needs_an_artifact_root() -> None:
    with pytest.raises(UsageError, match="does not say where the files of models go"):
        MlflowRegistry("postgresql://user:hush@db/mlflow")
    MlflowRegistry("postgresql://user:hush@db/mlflow", artifact_root="s3://bucket/models")


def test_a_process_that_nobody_asks_is_ended(tmp_path: Path) -> None:
    registry = MlflowRegistry(f"sqlite:///{tmp_path}/mlflow.db", log=tmp_path / "mlflow.log")
    registry.close_idle(0.0)  # there is none
    registry.prefetch()
    process = registry._process
    assert process is not None
    registry.close_idle(1000.0)
    assert process.popen.poll() is None
    with registry._lock:  # a call goes on
        registry.close_idle(0.0)
    assert process.popen.poll() is None
    registry.close_idle(0.0)
    assert (process.popen.poll(), registry._process) == (-signal.SIGKILL, None)
