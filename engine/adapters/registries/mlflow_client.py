"""What is done with MLflow, step by step, so that it can be killed anywhere and done again. Runs in `mlflow_server`.

Everything that is made carries the request's key as the tag `engine.key` from its first moment: the run, the logged
model, the version. Each is looked up by that tag before it is made, so that any number of tries ends with one of
each. The version comes last: when it exists, everything else is complete.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from engine.adapters.durable import sync
from engine.adapters.registries.mlflow_model import write_model
from engine.adapters.registries.mlflow_store import prepare_store
from engine.errors import UsageError
from engine.failpoints import failpoint

KEY = "engine.key"
_PARAM_LENGTH = 6000  # MLflow's limits, in characters
_TAG_LENGTH = 8000
_NAME_LENGTH = 250
_BATCH = 100
_DATASET_DIGEST = 36
_EXISTS = {"RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"}
_ABSENT = {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"}

Report = Callable[..., None]


class Client:
    """The four operations of ModelRegistry, on plain JSON."""

    def __init__(self, tracking_uri: str, registry_uri: str, artifact_root: str | None) -> None:
        prepare_store(tracking_uri)
        from mlflow import MlflowClient

        self._client = MlflowClient(tracking_uri=tracking_uri, registry_uri=registry_uri)
        self._artifact_root = artifact_root

    def handle(self, operation: str, arguments: Mapping[str, Any], report: Report) -> Any:
        """Carry out one request; `report(state=…, bytes=…)` tells how far it came."""
        if operation == "open":
            return self._open()
        if operation == "find":
            return self._find(arguments["model"], arguments["key"])
        if operation == "register":
            return self._register(arguments, report)
        if operation == "set_aliases":
            return self._set_aliases(arguments["model"], arguments["aliases"])
        if operation == "aliases":
            return self._aliases(arguments["model"])
        raise AssertionError(f"unknown operation {operation!r}")

    def _open(self) -> None:
        """Pay now for what the first real request would pay: imports, and the first connection."""
        import mlflow.pyfunc  # noqa: F401
        import pandas  # noqa: F401
        import pyarrow.parquet  # noqa: F401

        self._client.search_registered_models(max_results=1)

    # ── versions ─────────────────────────────────────────────────────────────────────────────────────────────

    def _find(self, model: str, key: str) -> dict[str, Any] | None:
        found = self._client.search_model_versions(f"name = {_quoted(model)} AND tags.`{KEY}` = {_quoted(key)}")
        versions = sorted((v for v in found if v.status != "FAILED_REGISTRATION"), key=lambda v: int(v.version))
        return _version(versions[0]) if versions else None

    def _register(self, request: Mapping[str, Any], report: Report) -> dict[str, Any]:
        failpoint("register.search")
        found = self._find(request["model"], request["key"])
        if found:
            return found
        failpoint("register.run")
        report(state="Nothing was registered; the run that it began is found by its key next time")
        run = self._run(request)
        failpoint("register.model")
        model_id = self._model(request, run, report)
        self._complete(request, run, model_id)
        failpoint("register.version")
        report(state="The version may have been registered; it is looked up by its key next time")
        version = self._create_version(request, run.info.run_id, model_id)
        failpoint("register.created")
        return self._read_back(request, version)

    def _create_version(self, request: Mapping[str, Any], run_id: str, model_id: str) -> str:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(request["model"])
        except MlflowException as error:
            if error.error_code not in _EXISTS:
                raise
        tags = {name: str(value) for name, value in request["tags"].items()}
        version = self._client.create_model_version(
            request["model"],
            source=f"models:/{model_id}",
            run_id=run_id,
            model_id=model_id,
            tags={**tags, KEY: request["key"]},
            await_creation_for=10,
        )
        return str(version.version)

    def _read_back(self, request: Mapping[str, Any], number: str) -> dict[str, Any]:
        version = self._client.get_model_version(request["model"], number)
        if version.tags.get(KEY) != request["key"] or version.status != "READY":
            raise RuntimeError(f"version {number} of {request['model']} is {version.status} and not what was made")
        return _version(version)

    # ── the tracking run ─────────────────────────────────────────────────────────────────────────────────────

    def _run(self, request: Mapping[str, Any]) -> Any:
        experiment = self._experiment(request["experiment"])
        earlier = self._client.search_runs([experiment], f"tags.`{KEY}` = {_quoted(request['key'])}", max_results=1)
        if earlier:
            return earlier[0]
        tags = {name: str(value)[:_TAG_LENGTH] for name, value in request["tags"].items()}
        return self._client.create_run(experiment, run_name=request["run_name"], tags={**tags, KEY: request["key"]})

    def _experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        experiment: Any = self._client.get_experiment_by_name(name)
        if experiment is None:
            try:
                return str(self._client.create_experiment(name, artifact_location=self._artifacts_of(name)))
            except MlflowException as error:
                if error.error_code not in _EXISTS:
                    raise
            experiment = self._client.get_experiment_by_name(name)
        if experiment.lifecycle_stage != "active":
            raise UsageError(
                f"the MLflow experiment {name!r} was deleted",
                remedy=f"Restore it (mlflow experiments restore -x {experiment.experiment_id}) or name another one.",
            )
        return str(experiment.experiment_id)

    def _artifacts_of(self, experiment: str) -> str | None:
        """Where the experiment's files go; None lets a server decide."""
        from urllib.parse import quote

        return f"{self._artifact_root.rstrip('/')}/{quote(experiment, safe='')}" if self._artifact_root else None

    def _complete(self, request: Mapping[str, Any], run: Any, model_id: str) -> None:
        """Parameters, metrics, data sets and files, then the end of the run. Doing it twice changes nothing."""
        from mlflow.entities import Metric, Param

        run_id = run.info.run_id
        params = [
            Param(name[:_NAME_LENGTH], _shortened(value))
            for name, value in request["params"].items()
            if name[:_NAME_LENGTH] not in run.data.params
        ]
        # The same time in every try: then MLflow keeps one point of a metric, not one for each try.
        at = run.info.start_time
        metrics = [
            Metric(name[:_NAME_LENGTH], value, at, 0, model_id=model_id, run_id=run_id)
            for name, value in request["metrics"].items()
        ]
        for start in range(0, max(len(params), len(metrics)), _BATCH):
            self._client.log_batch(
                run_id, params=params[start : start + _BATCH], metrics=metrics[start : start + _BATCH]
            )
        if request["datasets"]:
            self._client.log_inputs(run_id, [_dataset(d) for d in request["datasets"]])
        self._log_files(run, request["files"], request["texts"])
        self._client.set_terminated(run_id, "FINISHED")

    def _log_files(self, run: Any, files: Mapping[str, str], texts: Mapping[str, str]) -> None:
        """All files with one call, from a folder laid out as the run's artifacts shall be."""
        if not files and not texts:
            return
        with tempfile.TemporaryDirectory() as folder:
            for name, source in files.items():
                _lay_out(Path(source).absolute(), Path(folder, name))
            for name, text in texts.items():
                Path(folder, name).write_text(text, encoding="utf-8")
            _upload(Path(folder), run.info.artifact_uri, partial(self._client.log_artifacts, run.info.run_id))

    # ── the model ────────────────────────────────────────────────────────────────────────────────────────────

    def _model(self, request: Mapping[str, Any], run: Any, report: Report) -> str:
        """The id of the logged model, complete; a half-logged one is completed."""
        run_id, experiment = run.info.run_id, run.info.experiment_id
        found = self._client.search_logged_models(
            [experiment], filter_string=f"tags.`{KEY}` = {_quoted(request['key'])}", max_results=1
        )
        if found:
            model = found[0]
        else:
            model = self._client.create_logged_model(
                experiment,
                name=request["model"],
                source_run_id=run_id,
                tags={KEY: request["key"]},
                params={n[:_NAME_LENGTH]: _shortened(v) for n, v in request["params"].items()},
            )
        self._link(run, model.model_id)
        if str(model.status) != "READY":
            with tempfile.TemporaryDirectory() as folder:
                size = write_model(request, Path(folder), run_id=run_id, model=model)
                report(state="Nothing was registered; the model was being uploaded", bytes=size)
                log = partial(self._client.log_model_artifacts, model.model_id)
                _upload(Path(folder), model.artifact_location, log)
            self._client.finalize_logged_model(model.model_id, "READY")
        return str(model.model_id)

    def _link(self, run: Any, model_id: str) -> None:
        """Make the model an output of the run, once."""
        from mlflow.entities import LoggedModelOutput

        outputs = run.outputs.model_outputs if run.outputs else []
        if all(output.model_id != model_id for output in outputs):
            self._client.log_outputs(run.info.run_id, [LoggedModelOutput(model_id, step=0)])

    # ── aliases ──────────────────────────────────────────────────────────────────────────────────────────────

    def _aliases(self, model: str) -> dict[str, int]:
        from mlflow.exceptions import MlflowException

        try:
            found = self._client.get_registered_model(model)
        except MlflowException as error:
            if error.error_code in _ABSENT:
                return {}
            raise
        return {alias: int(version) for alias, version in sorted(found.aliases.items())}

    def _set_aliases(self, model: str, wanted: Mapping[str, int | None]) -> None:
        from mlflow.exceptions import MlflowException
        from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random

        failpoint("register.alias")
        # MLflow has no compare-and-swap on aliases: simultaneous writers get integrity errors from its database.
        retrying = Retrying(
            retry=retry_if_exception(_is_race), stop=stop_after_attempt(6), wait=wait_random(0.01, 0.1), reraise=True
        )
        try:
            retrying(self._move_aliases, model, wanted)
        except MlflowException as error:
            if error.error_code not in _ABSENT:
                raise
            raise UsageError(
                f"MLflow has no such version of {model}: {', '.join(f'{a} → {v}' for a, v in sorted(wanted.items()))}",
                remedy="Was it deleted there by hand? Register again, or restore it.",
            ) from error

    def _move_aliases(self, model: str, wanted: Mapping[str, int | None]) -> None:
        current = self._aliases(model)
        for alias, version in sorted(wanted.items()):
            if current.get(alias) == version:
                continue
            if version is None:
                self._client.delete_registered_model_alias(model, alias)
            else:
                self._client.set_registered_model_alias(model, alias, str(version))


def _lay_out(source: Path, target: Path) -> None:
    """Links to a file, or to each file of a folder: MLflow does not follow links to folders."""
    files = [path for path in source.rglob("*") if path.is_file()] if source.is_dir() else [source]
    for path in files:
        link = target / path.relative_to(source)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)


def _upload(folder: Path, artifact_uri: str, log: Callable[[str], None]) -> None:
    """`log` the folder to its place. On this machine: over what an earlier try left there, and flushed to disk.

    MLflow copies the mode of a read-only file, which it then cannot write again. And no version must outlive its
    model in a power loss.
    """
    local = Path(artifact_uri.removeprefix("file://")) if _is_local(artifact_uri) else None
    if local is None:
        log(str(folder))
        return
    targets = [local / path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    for target in targets:
        target.unlink(missing_ok=True)
    log(str(folder))
    for path in {*targets, *(target.parent for target in targets), local, local.parent}:
        sync(path)


def _is_local(uri: str) -> bool:
    return uri.startswith(("/", "file:///"))


def _is_race(error: BaseException) -> bool:
    return "IntegrityError" in str(error) or "database is locked" in str(error)


def _version(version: Any) -> dict[str, Any]:
    return {
        "version": int(version.version),
        "run_id": version.run_id or "",
        "uri": f"models:/{version.name}/{version.version}",
    }


def _shortened(value: Any) -> str:
    """A parameter as text, as MLflow takes it: one that is too long is cut and says so."""
    text = str(value)
    return text if len(text) <= _PARAM_LENGTH else f"{text[: _PARAM_LENGTH - 40]}… ({len(text)} characters)"


def _quoted(value: str) -> str:
    if "'" in value:
        raise UsageError(f"{value!r} has a quotation mark in it, which MLflow cannot search for")
    return f"'{value}'"


def _dataset(dataset: Mapping[str, Any]) -> Any:
    """Lineage by MLflow's entities alone, so that no data is read.

    `name`, `digest`, `source`; and, if given, `context` (training), `schema` {column: type}, `profile` {…}.
    """
    import json

    from mlflow.entities import Dataset, DatasetInput, InputTag

    digest = str(dataset["digest"]).removeprefix("blake3:")
    schema = dataset.get("schema")
    profile = dataset.get("profile")
    source = str(dataset["source"])
    return DatasetInput(
        dataset=Dataset(
            name=str(dataset["name"]),
            digest=digest[:_DATASET_DIGEST],
            source_type="http" if source.startswith(("http://", "https://")) else "local",
            source=json.dumps({"url" if source.startswith(("http://", "https://")) else "uri": source}),
            schema=json.dumps({"mlflow_colspec": [{"name": n, "type": t} for n, t in schema.items()]})
            if schema
            else None,
            profile=json.dumps(profile) if profile else None,
        ),
        tags=[InputTag("mlflow.data.context", str(dataset.get("context", "training")))],
    )
