"""OpenLineage events of runs, by the project's official client: into a file of JSON lines, or to an HTTP endpoint.

A run of a model is a job's run; what it read and the release that it made are its datasets, in their versions by
digest. An endpoint's key is read from OPENLINEAGE_API_KEY, as the client itself does. `emit` raises TransientError for
whatever keeps an event from being taken.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from engine.core.records import Artifact, Release, Run, RunStatus
from engine.errors import NotSupportedError, TransientError, UsageError
from engine.steps.snapshot import source_text

if TYPE_CHECKING:
    from openlineage.client import OpenLineageClient

PRODUCER = "https://github.com/OpenLineage/OpenLineage/blob/main/client/python#engine"
TIMEOUT = 5.0  # seconds for one event
RETRIES = 1


@dataclass(frozen=True)
class Story:
    """What is told of a run. `finished` is False for its start. `project` is the namespace: the state's lineage."""

    namespace: str
    run: Run
    finished: bool
    data: Artifact | None = None
    columns: Mapping[str, str] = field(default_factory=dict)  # of the data: name → kind
    rows: int | None = None
    release: Release | None = None


class OpenLineage:
    """Sends events to `address`: a path, or an HTTP URL."""

    def __init__(self, address: str, project: Path) -> None:
        self._address = address
        self._project = project
        self._client: OpenLineageClient | None = None

    def emit(self, story: Story) -> None:
        """Send one event. Raises NotSupportedError without the client library, TransientError when it was not taken."""
        client = self._connected()
        try:
            client.emit(_event(story))
        except Exception as error:
            raise TransientError(
                f"an OpenLineage event was not taken: {type(error).__name__}",
                remedy="Check stores.openlineage in engine.yaml.",
            ) from error

    def _connected(self) -> OpenLineageClient:
        if self._client is None:
            try:
                from openlineage.client import OpenLineageClient
            except ImportError:
                raise NotSupportedError(
                    "OpenLineage events need a package that is not installed",
                    remedy="Install it: pip install 'engine[openlineage]'",
                ) from None
            self._client = OpenLineageClient(transport=self._transport())
        return self._client

    def _transport(self) -> Any:
        from openlineage.client.transport.file import FileConfig, FileTransport
        from openlineage.client.transport.http import ApiKeyTokenProvider, HttpConfig, HttpTransport, TokenProvider

        scheme = urlsplit(self._address).scheme
        if scheme in ("http", "https"):
            key = os.environ.get("OPENLINEAGE_API_KEY")
            auth = ApiKeyTokenProvider({"apiKey": key}) if key else TokenProvider({})
            retry = {"total": RETRIES, "read": RETRIES, "connect": RETRIES, "backoff_factor": 0.2}
            return HttpTransport(HttpConfig(url=self._address, timeout=TIMEOUT, auth=auth, retry=retry))
        if scheme not in ("", "file"):
            raise UsageError(
                f"stores.openlineage: {scheme}:// is not known", remedy="Write a path or an http or https URL."
            )
        path = self._project / self._address.removeprefix("file://")
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileTransport(FileConfig(log_file_path=str(path), append=True))


def run_uuid(run_id: str) -> str:
    """The id of a run as OpenLineage wants it."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"engine:{run_id}"))


def _event(story: Story) -> Any:
    from openlineage.client.event_v2 import Job, RunEvent, RunState
    from openlineage.client.event_v2 import Run as LineageRun

    states = {
        RunStatus.DONE: RunState.COMPLETE,
        RunStatus.STOPPED: RunState.COMPLETE,  # a gate's verdict is a result
        RunStatus.FAILED: RunState.FAIL,
    }
    run = story.run
    state = states.get(run.status, RunState.ABORT) if story.finished else RunState.START
    return RunEvent(
        eventTime=(run.finished_at if story.finished else None) or run.started_at,
        eventType=state,
        run=LineageRun(run_uuid(run.run_id), facets=_run_facets(story)),
        job=Job(story.namespace, run.model, facets=_job_facets(story)),
        producer=PRODUCER,
        inputs=[_input(story)] if story.data is not None else [],
        outputs=[_output(story.namespace, story.release)] if story.release is not None else [],
    )


def _run_facets(story: Story) -> dict[str, Any]:
    from openlineage.client.facet_v2 import error_message_run, processing_engine_run, tags_run

    run = story.run
    facets: dict[str, Any] = {
        "processing_engine": processing_engine_run.ProcessingEngineRunFacet(
            version=str(run.provenance.get("engine")), name="engine"
        ),
        "tags": tags_run.TagsRunFacet(
            tags=[
                tags_run.TagsRunFacetFields(key=key, value=value, source="engine")
                for key, value in (
                    ("run_id", run.run_id),
                    ("status", run.status.value),
                    ("spec_digest", run.spec_digest),
                )
            ]
        ),
    }
    if story.finished and run.status is RunStatus.FAILED:
        facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(run.message, "python")
    return facets


def _job_facets(story: Story) -> dict[str, Any]:
    from openlineage.client.facet_v2 import documentation_job, job_type_job, source_code_location_job

    facets: dict[str, Any] = {"jobType": job_type_job.JobTypeJobFacet("BATCH", "ENGINE", "MODEL")}
    git: Any = story.run.provenance.get("git")
    if isinstance(git, Mapping) and git.get("commit"):
        facets["sourceCodeLocation"] = source_code_location_job.SourceCodeLocationJobFacet(
            type="git", url="", version=str(git["commit"]), branch=str(git.get("branch") or "")
        )
    description = story.run.document.get("description")
    if description:
        facets["documentation"] = documentation_job.DocumentationJobFacet(str(description))
    return facets


def _input(story: Story) -> Any:
    from openlineage.client.event_v2 import InputDataset
    from openlineage.client.facet_v2 import data_quality_metrics_input_dataset, dataset_version_dataset, schema_dataset

    assert story.data is not None
    block: Any = story.run.document.get("data")
    namespace, name = _named(block.get("source"), story)
    kinds = [schema_dataset.SchemaDatasetFacetFields(name=column, type=kind) for column, kind in story.columns.items()]
    measured = data_quality_metrics_input_dataset.DataQualityMetricsInputDatasetFacet(
        columnMetrics={}, rowCount=story.rows, bytes=story.data.size
    )
    return InputDataset(
        namespace,
        name,
        facets={
            "version": dataset_version_dataset.DatasetVersionDatasetFacet(story.data.digest),
            **({"schema": schema_dataset.SchemaDatasetFacet(fields=kinds)} if kinds else {}),
        },
        inputFacets={"dataQualityMetrics": measured},
    )


def _named(source: Any, story: Story) -> tuple[str, str]:
    """A source as OpenLineage names data sets: its scheme and authority, and the path there."""
    text = source_text(source)
    parts = urlsplit(text)
    if isinstance(source, Mapping) or not text:
        return story.namespace, f"{story.run.model}.data"
    if "://" in text and "${" not in text:
        return f"{parts.scheme}://{parts.netloc}", parts.path.lstrip("/")
    kind, colon, rest = text.partition(":")
    return (kind, rest) if colon and "${" not in text else (story.namespace, text)


def _output(namespace: str, release: Release) -> Any:
    from openlineage.client.event_v2 import OutputDataset
    from openlineage.client.facet_v2 import dataset_version_dataset, output_statistics_output_dataset

    return OutputDataset(
        namespace,
        f"models/{release.model}",
        facets={"version": dataset_version_dataset.DatasetVersionDatasetFacet(str(release.version))},
        outputFacets={
            "outputStatistics": output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
                size=release.artifact.size
            )
        },
    )
