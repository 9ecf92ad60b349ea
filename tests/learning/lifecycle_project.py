"""A small project in a temporary folder, and its steps as functions of it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from engine.core.canonical import canonical_json
from engine.gates.asking import asks_of
from engine.gates.judge import BLOCKS, kind_of
from engine.ports import StepContext, StepOutcome
from engine.steps import evaluate, examine, split, train, validate
from engine.steps.model_files import LoadedModel
from engine.steps.schema import Schema, read_rows
from engine.testing.models import model_in, stored_model

DATA = Path(__file__).parents[1] / "data"
_DATA_DEFAULTS: Mapping[str, Any] = {
    "target": "target",
    "split": {"strategy": "auto", "holdout": 0.25, "seed": 0},
}


@dataclass
class Project:
    """Runs steps in `root` one after the other, each with the outputs of those before it."""

    root: Path
    progress: list[tuple[int, int, str]] = field(default_factory=list)
    outputs: dict[str, Path] = field(default_factory=dict)

    def context(
        self, step: str, settings: Mapping[str, Any], inputs: Mapping[str, Path], outputs: Mapping[str, str]
    ) -> StepContext:
        out, scratch = self.root / "work" / step / "out", self.root / "work" / step / "scratch"
        out.mkdir(parents=True, exist_ok=True)
        scratch.mkdir(parents=True, exist_ok=True)
        paths = {role: out / name for role, name in outputs.items()}
        self.outputs |= {f"{step}.{role}": path for role, path in paths.items()}
        return StepContext(
            step,
            settings,
            inputs,
            paths,
            {},
            self.root,
            scratch,
            lambda done, total, text: self.progress.append((done, total, text)),
            lambda reference: {"${env:TOKEN}": "s3cret"}.get(reference, reference),
        )

    def split(self, table: Path | pd.DataFrame, task: str = "auto", **data: Any) -> StepOutcome:
        if isinstance(table, pd.DataFrame):
            path = self.root / "table.parquet"
            table.to_parquet(path, index=False)
            table = path
        outputs = {"train": "train.parquet", "holdout": "holdout.parquet", "schema": "schema.json"}
        settings = {"data": {**_DATA_DEFAULTS, **data}, "training": {"task": task}}
        return split.run(self.context("split", settings, {"table": table}, outputs))

    def train(
        self, attempt: int = 0, name: str = "train", inputs: Mapping[str, Path] | None = None, **training: Any
    ) -> StepOutcome:
        given = {"train": self.outputs["split.train"], "schema": self.outputs["split.schema"], **(inputs or {})}
        settings: dict[str, Any] = {"training": {"seed": 0, **training}}
        if attempt:
            settings["attempt"] = attempt
        return train.run(self.context(name, settings, given, {"model": "model", "report": "training.json"}))

    def evaluate(self, predict: list[str] | None = None, *, signed: bool = True) -> StepOutcome:
        inputs = {
            "model": self.outputs["train.model"],
            "holdout": self.outputs["split.holdout"],
            "schema": self.outputs["split.schema"],
        }
        outputs = {
            "report": "evaluation.json",
            "predictions": "predictions.parquet",
            "figures": "figures",
            "reference": "reference.profile",
        }
        settings = {"training": {"predict": predict}} if predict else {}
        context = self.context("evaluate", settings, inputs, outputs)
        return evaluate.run(replace(context, models={"model": stored_model(inputs["model"], signed=signed)}))

    def measure(self) -> Any:
        """The report of an evaluation, without its pictures, which take most of an evaluation's time."""
        schema = Schema.read(self.outputs["split.schema"])
        table, model = read_rows(self.outputs["split.holdout"], schema), self.model()
        report = evaluate.evaluation_of(evaluate.ask(model, table, schema), table, schema, model.meta)
        self.outputs["evaluate.report"] = self.write("evaluation.json", canonical_json(report))
        context = self.context("evaluate", {}, {}, {"predictions": "predictions.parquet"})
        evaluate.write_predictions(context, table, schema, evaluate.ask(model, table, schema))
        return report

    def examine(self, *gates: Mapping[str, Any], champion: Mapping[str, Any] | None = None) -> StepOutcome:
        """What the gates ask of the model, beside a champion: its folder under `model`, its `version`, `signed`."""
        asks = asks_of(
            BLOCKS[kind_of(gate) or ""].model_validate(gate).model_dump(mode="json", by_alias=True) for gate in gates
        )
        inputs = {
            "report": self.outputs["evaluate.report"],
            "predictions": self.outputs["evaluate.predictions"],
            "holdout": self.outputs["split.holdout"],
            "schema": self.outputs["split.schema"],
            "model": self.outputs["train.model"],
            "train": self.outputs["split.train"],
            **({"champion": champion["model"]} if champion is not None else {}),
        }
        context = self.context("examine", {"validation": asks}, inputs, {"report": "examination.json"})
        facts = {} if champion is None else {"champion": {**champion, "model": "blake3:0"}}
        models = {role: stored_model(inputs[role]) for role in ("model", "champion") if role in inputs}
        return examine.run(replace(context, facts=facts, models=models))

    def judged(self, *gates: Mapping[str, Any], champion: Mapping[str, Any] | None = None) -> list[Mapping[str, Any]]:
        """The gates' verdicts after examining."""
        self.examine(*gates, champion=champion)
        self.validate(*gates)
        found: list[Mapping[str, Any]] = self.json("validate.verdict")["gates"]
        return found

    def validate(self, *gates: Mapping[str, Any]) -> StepOutcome:
        inputs = {"report": self.outputs["evaluate.report"]}
        if "examine.report" in self.outputs:
            inputs["examination"] = self.outputs["examine.report"]
        return validate.run(self.context("validate", {"validation": list(gates)}, inputs, {"verdict": "verdict.json"}))

    def model(self, name: str = "train") -> LoadedModel:
        return model_in(self.outputs[f"{name}.model"], Path(tempfile.mkdtemp(dir=self.root)) / "model")

    def json(self, output: str) -> Any:
        return json.loads(self.outputs[output].read_text(encoding="utf-8"))

    def holdout(self) -> pd.DataFrame:
        return pd.read_parquet(self.outputs["split.holdout"])

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path
