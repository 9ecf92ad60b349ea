"""The sections of a model_spec: every field, its type, its default, and what it is for.

Sections of which several kinds exist (`retrain_trigger`, `validation`, `deployment`) belong to the kinds; here
they are named only. The docstring under a field is its description in the JSON Schema.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, PlainValidator, Tag, WithJsonSchema, model_validator

from engine.spec.alerts import Alert
from engine.spec.contract import Contract
from engine.spec.fields import (
    Block,
    Bytes,
    Column,
    Command,
    Estimator,
    Function,
    MetricName,
    ModelName,
    ProjectPath,
    Role,
    Seconds,
    Share,
    StepName,
    Text,
    VariableName,
    check_no_password,
    check_path,
    empty_list,
    mistake,
    show,
)
from engine.spec.monitoring import DEFAULT_ROWS, Kpi, Labels, MetricWatch, Quality, Service, Windows

# ── data ─────────────────────────────────────────────────────────────────────────────────────────────────────

SCHEMES = ("https", "http", "s3", "gs")
_SOURCES = "Write a path in the project, a URL (https, s3, gs), dvc:PATH, sklearn:NAME, or {sql: …, url: …}."
_LONGEST_SOURCE = 2_000
_LATER = {"feast": "Feast"}
_REVISION = r"[A-Za-z0-9_][A-Za-z0-9_.\-/~^]{0,199}"  # never an option of git


def _source(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise mistake(f"{show(value)} is not a data source", _SOURCES)
    if len(value) > _LONGEST_SOURCE:
        raise mistake(f"a data source of {len(value)} characters", f"Write at most {_LONGEST_SOURCE}.")
    scheme, colon, rest = value.partition(":")
    if scheme in _LATER:
        raise mistake(f"{_LATER[scheme]} sources are not supported yet", "Name the data itself: a path or a URL.")
    if scheme == "dvc" and colon:
        return _tracked(rest)
    if value.endswith(".dvc"):
        raise mistake(f"{show(value)} is DVC's record of data", f"Write dvc:{value.removesuffix('.dvc')}.")
    if scheme == "sklearn" and colon:
        return _dataset(rest)
    if "://" in value:
        return _url(value, scheme)
    if "${" in value:
        if re.fullmatch(r"\$\{(env|file):[^{}]+\}", value):
            return value
        raise mistake(
            "a path cannot have a reference in it", "Write the path out, or make the whole source ${env:NAME}."
        )
    return check_path(value)


def _dataset(name: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise mistake(f"{show(name)} is not a data set of scikit-learn", "Write it like sklearn:breast_cancer.")
    return f"sklearn:{name}"


def _tracked(rest: str) -> str:
    path, at, revision = rest.partition("@")
    if path.endswith(".dvc"):
        raise mistake(f"{show(path)} is DVC's record of data", f"Write dvc:{path.removesuffix('.dvc')}.")
    if at and not re.fullmatch(_REVISION, revision):
        raise mistake(f"{show(revision)} is not a revision of git", "Write it like dvc:data/train.csv@v1.0.")
    return f"dvc:{check_path(path)}{at}{revision}"


def _url(value: str, scheme: str) -> str:
    if scheme not in SCHEMES:
        near = get_close_matches(scheme, SCHEMES, n=1)
        raise mistake(
            f'sources of the scheme "{scheme}" are not known', f'Did you mean "{near[0]}"?' if near else _SOURCES
        )
    if not re.fullmatch(r"[^\s\x00]+://[^\s/][^\s\x00]*", value):
        raise mistake(f"{show(value)} is not a URL", "Write it like https://example.org/data.csv.")
    return check_no_password(value)


def _database(value: Any) -> str:
    if not isinstance(value, str) or ("${" not in value and "://" not in value):
        raise mistake(f"{show(value)} is not a database URL", "Write one that SQLAlchemy reads, or ${env:NAME}.")
    return check_no_password(value)


class SqlSource(Block):
    """A query on a database."""

    sql: Text
    """The query; its order must not vary between runs."""
    url: Annotated[str, PlainValidator(_database), WithJsonSchema({"type": "string", "examples": ["${env:DB_URL}"]})]
    """The database, as a SQLAlchemy URL; its password as ${env:NAME}."""


Source = Annotated[
    Annotated[
        str,
        PlainValidator(_source),
        WithJsonSchema(
            {
                "type": "string",
                "pattern": r"^(?![/~]|\s).+$",
                "examples": [
                    "data/churn.csv",
                    "s3://bucket/churn/",
                    "dvc:data/churn.csv@v1.0",
                    "sklearn:breast_cancer",
                ],
            }
        ),
        Tag("text"),
    ]
    | Annotated[SqlSource, Tag("sql")],
    Discriminator(lambda value: "sql" if isinstance(value, dict | SqlSource) else "text"),
]


class Split(Block):
    """How rows are held out for evaluation."""

    strategy: Literal["auto", "stratified", "random", "time", "group"] = "auto"
    """auto: by group if there is one, by time if there is a timestamp or data.window, else stratified for classes, else
    random. time without a timestamp takes the order of the rows."""
    holdout: Share = 0.2
    """The share of rows that training never sees."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    """The seed of the random choice."""


class RecentRows(Block):
    """The newest rows, the only ones that are used: to train on and to hold out."""

    rows: Annotated[int, Field(ge=10, le=1_000_000_000)] | None = None
    """So many."""
    duration: Seconds | None = None
    """Those of so long a time before the newest, by data.timestamp; with rows, whichever are fewer."""

    @model_validator(mode="after")
    def _ends(self) -> RecentRows:
        if self.rows is None and self.duration is None:
            raise mistake("a window without rows or duration has no end", "Give one, like rows: 10000.")
        return self


class Data(Block):
    """Where the data comes from and what its columns are for."""

    source: Source | None = None
    """A path, glob, directory, URL, dvc:PATH@REVISION, sklearn:NAME or {sql, url}; data/<name>.csv or .parquet if left
    out."""
    format: Literal["csv", "parquet", "jsonl"] | None = None
    """The format of the files; by their ending if left out."""
    target: Column = "target"
    """The column to predict."""
    positive: str | int | float | bool | None = None
    """The positive class of a two-class target; the second in sorted order if left out."""
    id: Column | None = None
    """The column that names a row: never a feature."""
    timestamp: Column | None = None
    """The column that says when; makes the split time-ordered."""
    group: Column | None = None
    """Rows with the same value in this column stay on the same side of the split."""
    ignore: list[Column] = Field(default_factory=empty_list)
    """Columns that are never features."""
    missing: list[str] | None = None
    """Texts that stand for a missing value, besides the empty one."""
    expect: Contract | None = None
    """The data contract; violating it stops the run before training."""
    personal: list[Column] = Field(default_factory=empty_list)
    """Columns about persons: their values are in no message and no report of the contract."""
    table: Text | None = None
    """Which output of your own steps is split, as step.output; found by itself when just one is called table."""
    feedback: bool = False
    """Whether predictions whose actual value became known are learned from too, besides the source. Of rows with the
    same id that of the source counts, else the newest prediction; the timestamp is that of the prediction."""
    window: RecentRows | None = None
    """Only the newest rows are used, by the timestamp or else in their order, feedback being the last."""
    split: Split = Field(default_factory=Split)
    """How rows are held out for evaluation."""


# ── steps and training ───────────────────────────────────────────────────────────────────────────────────────


class Resources(Block):
    """What a step may use."""

    timeout: Seconds | None = None
    """The longest it may run."""
    memory: Bytes | None = None
    """The most memory it may use."""


class UserStep(Block):
    """A step of your own: a command with declared inputs and outputs."""

    name: StepName
    """Its name in the graph."""
    run: Command
    """The command, with ${inputs.ROLE} and ${outputs.ROLE} for its files; there is no shell."""
    inputs: dict[Role, Text] = Field(default_factory=dict)
    """What it reads, by role: data, another step's output (step.output), or a file or folder of the project."""
    outputs: dict[Role, ProjectPath] = Field(default_factory=dict)
    """What it writes, by role: file names."""
    after: list[Text] = Field(default_factory=empty_list)
    """Steps that must have ended before it, though it reads nothing of theirs."""
    before: list[Text] = Field(default_factory=empty_list)
    """Steps that wait for it, though they read nothing of its."""
    environment: dict[VariableName, str] = Field(default_factory=dict)
    """Environment variables; secrets as ${env:NAME} or ${file:PATH}."""
    resources: Resources = Field(default_factory=Resources)
    """What it may use."""


def _values(value: Any) -> Any:
    remedy = "Write a list like [4, 8, 16], or a range like {low: 0.01, high: 1, log: true}."
    if isinstance(value, list) and value:
        return value
    if not isinstance(value, dict) or not {"low", "high"} <= set(value) <= {"low", "high", "log"}:
        raise mistake(f"{show(value)} is not a list of values or a range", remedy)
    low, high, log = value["low"], value["high"], value.get("log", False)
    if any(isinstance(end, bool) or not isinstance(end, int | float) for end in (low, high)) or low >= high:
        raise mistake("low and high are not two growing numbers", remedy)
    if not isinstance(log, bool) or (log and low <= 0):
        raise mistake("log is true or false, and true only for a range above 0", remedy)
    return {"low": low, "high": high, "log": log}


_RANGE = {
    "type": "object",
    "properties": {"low": {"type": "number"}, "high": {"type": "number"}, "log": {"type": "boolean"}},
    "required": ["low", "high"],
    "additionalProperties": False,
}
Values = Annotated[Any, PlainValidator(_values), WithJsonSchema({"anyOf": [{"type": "array", "minItems": 1}, _RANGE]})]


class Tuning(Block):
    """A search for better parameters by cross-validation on the training rows."""

    search: Literal["random", "grid"] = "random"
    """Random draws from the space, or every combination."""
    trials: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """How many draws of a random search; 20 if left out."""
    space: Annotated[dict[Text, Values], Field(min_length=1)]
    """For each parameter the values to try: a list, or for a random search a range {low, high, log}."""
    metric: MetricName | None = None
    """What to optimise; the task's usual metric if left out."""
    folds: Annotated[int, Field(ge=2, le=50)] = 5
    """Folds of the cross-validation."""

    @model_validator(mode="after")
    def _suits_the_search(self) -> Tuning:
        if self.search == "grid" and self.trials is not None:
            raise mistake("trials has no effect on a grid search", "Remove trials, or write search: random.")
        if self.search == "grid" and any(isinstance(values, dict) for values in self.space.values()):
            raise mistake("space has a range, of which a grid cannot try every value", "Write a list of values.")
        return self


class Training(Block):
    """How the model is made: an estimator, a function or a command."""

    estimator: Estimator | None = None
    """auto, or the dotted name of a scikit-learn compatible class; auto if nothing else is given."""
    function: Function | None = None
    """A function of yours, package.module:function, that returns a fitted model."""
    run: Command | None = None
    """A command of yours that writes a model; there is no shell."""
    predict: Command | None = None
    """For run: the command that predicts with what it wrote."""
    task: Literal["auto", "classification", "regression"] = "auto"
    """auto: by the target."""
    params: dict[Text, Any] = Field(default_factory=dict)
    """Parameters of the estimator or function."""
    preprocessing: Literal["auto", "none"] = "auto"
    """auto: impute, encode and scale by column type; none: the estimator gets the columns as they are."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    """The seed of training."""
    tuning: Tuning | None = None
    """A search for better parameters."""
    inputs: dict[Role, Text] = Field(default_factory=dict)
    """Further inputs, by role: another step's output or a file or folder of the project."""
    environment: dict[VariableName, str] = Field(default_factory=dict)
    """Environment variables; secrets as ${env:NAME} or ${file:PATH}."""
    resources: Resources = Field(default_factory=Resources)
    """What training may use."""

    @model_validator(mode="after")
    def _is_made_in_one_way(self) -> Training:
        ways = [name for name in ("estimator", "function", "run") if getattr(self, name) is not None]
        if len(ways) > 1:
            raise mistake(f"training has both {' and '.join(ways)}", "Keep one of them.")
        if self.predict and not self.run:
            raise mistake("predict has no effect without run", "Remove it: your model predicts by itself.")
        return self


# ── monitoring ───────────────────────────────────────────────────────────────────────────────────────────────


class Monitoring(Block):
    """How the live model is watched."""

    labels: Labels = Field(default_factory=Labels)
    """How actual values become known."""
    window: Windows | None = None
    """How predictions are cut into windows; 1,000 rows if left out."""
    metrics: list[MetricWatch] = Field(default_factory=empty_list)
    """Metrics that are measured besides those of the gates and triggers, with the worst acceptable value of each."""
    estimate: bool = True
    """Whether performance is also estimated without actual values, by the confidence of the predictions."""
    kpis: list[Kpi] = Field(default_factory=empty_list)
    """Business figures over the prediction log."""
    quality: Quality = Field(default_factory=Quality)
    """How much may be wrong with the features."""
    service: Service | None = None
    """How the release must answer."""
    keep: Annotated[int, Field(ge=10, le=100_000)] = 1000
    """How many windows are kept."""
    alerts: list[Alert] = Field(default_factory=empty_list)
    """Who is told what is wrong, by engine up or engine controller."""

    @model_validator(mode="after")
    def _can_be_judged(self) -> Monitoring:
        rows = DEFAULT_ROWS if self.window is None else self.window.rows
        if rows is not None and rows < self.labels.min:
            raise mistake(
                f"a window of {rows:,} rows never has the {self.labels.min:,} labels of labels.min",
                "Give labels.min, or larger windows in window.rows.",
            )
        unique = {
            "metrics": [each.metric for each in self.metrics],
            "kpis": [each.name for each in self.kpis],
            "alerts": [each.name or each.kind for each in self.alerts],
        }
        for what, names in unique.items():
            for name in names:
                if names.count(name) > 1:
                    raise mistake(f"{what} has {name} twice", "Keep one of them, or name them apart.")
        return self


# ── the whole ────────────────────────────────────────────────────────────────────────────────────────────────


class Retention(Block):
    """Which releases are kept whole. One that serves, is a candidate, or served before is always kept."""

    releases: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """So many of the newest."""
    duration: Seconds | None = None
    """Those that are younger; with releases, what either of them keeps is kept."""

    @model_validator(mode="after")
    def _keeps_something(self) -> Retention:
        if self.releases is None and self.duration is None:
            raise mistake("a retention without releases or duration says nothing", "Give one, like releases: 10.")
        return self


class Lifecycle(Block):
    """How the model itself may end."""

    prevent_destroy: bool = False
    """Whether engine destroy refuses it, also after its spec is gone. Changing it runs nothing."""


class ModelSpec(Block):
    """The desired state of one model."""

    name: ModelName
    """The model's name: lower-case letters, digits, _ and -."""
    description: Text | None = None
    """What the model is for. Changing it runs nothing."""
    owner: Text | None = None
    """Who answers for it. Changing it runs nothing."""
    labels: dict[Text, str] = Field(default_factory=dict)
    """Free labels. Changing them runs nothing."""
    versioning: Literal["dvc"] | None = None
    """dvc: every release is also recorded in versions/<name>/*.dvc, and its files in DVC's cache. Changing it runs
    nothing."""
    retention: Retention | None = None
    """Which releases are kept whole; all if left out. Others stay on record, and state gc removes their artifacts.
    Changing it runs nothing."""
    lifecycle: Lifecycle = Field(default_factory=Lifecycle)
    """How the model itself may end."""
    data: Data = Field(default_factory=Data)
    """Where the data comes from and what its columns are for."""
    steps: list[UserStep] = Field(default_factory=empty_list)
    """Your own steps, anywhere in the graph."""
    training: Training = Field(default_factory=Training)
    """How the model is made."""
    retrain_trigger: Any = None
    """When a retrain is due: one trigger, a list (any of them), or any_of and all_of, nested."""
    validation: Any = None
    """What a candidate must prove: one gate or a list; better than a baseline if left out."""
    deployment: Any = None
    """How a release goes live; recreate if left out."""
    monitoring: Monitoring | None = None
    """How the live model is watched."""


BOUND_BY_KIND = ("retrain_trigger", "validation", "deployment")
METADATA = ("description", "owner", "labels")
