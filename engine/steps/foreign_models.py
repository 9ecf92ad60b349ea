"""Models that a user's command made: reached through its predict command, ONNX Runtime or MLflow.

Each one has `predict(frame)` and, where it gives probabilities, `predict_proba(frame)`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import NotSupportedError, StepError
from engine.steps.command import execute
from engine.steps.table import read_parquet, write_parquet

if TYPE_CHECKING:
    import pandas as pd

PREDICTION = "prediction"
PROBABILITY = "probability_"  # and the class


@dataclass(frozen=True)
class CommandModel:
    """Predicts by running a command: rows in (Parquet and CSV), predictions out (CSV, or Parquet by its start)."""

    argv: tuple[str, ...]
    inputs: Mapping[str, Path]
    scratch: Path
    classes: tuple[str, ...]
    environment: Mapping[str, str]

    def predict(self, frame: pd.DataFrame) -> Any:
        """The `prediction` column. frame: (n, p) → (n,). Raises StepError."""
        return self.answers(frame)[0]

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        """The `probability_<class>` columns in the order of the classes, (n, k); None without them."""
        return self.answers(frame)[1]

    def answers(self, frame: pd.DataFrame) -> tuple[Any, Any]:
        """Both from one run of the command."""
        table, predictions = self.scratch / "engine_rows.parquet", self.scratch / "engine_predictions.csv"
        table_csv = table.with_suffix(".csv")
        write_parquet(frame, table)
        frame.to_csv(table_csv, index=False, lineterminator="\n")
        predictions.unlink(missing_ok=True)
        inputs = {**self.inputs, "table": table, "table_csv": table_csv}
        execute(self.argv, inputs, {"predictions": predictions}, self.environment, self.scratch)
        found = _read_predictions(predictions)
        if len(found) != len(frame):
            raise StepError(f"the predict command wrote {len(found)} predictions for {len(frame)} rows")
        if PREDICTION not in found.columns:
            raise StepError(
                f"the predictions have no column {PREDICTION}", remedy=f"They have: {', '.join(found.columns)}."
            )
        names = [f"{PROBABILITY}{label}" for label in self.classes]
        if not names or not set(names) <= set(found.columns):
            return found[PREDICTION].to_numpy(), None
        return found[PREDICTION].to_numpy(), found[names].to_numpy(dtype=float)


def _read_predictions(path: Path) -> pd.DataFrame:
    import pandas as pd

    with path.open("rb") as file:
        parquet = file.read(4) == b"PAR1"
    try:
        return read_parquet(path) if parquet else pd.read_csv(path)
    except (ValueError, OSError) as error:
        raise StepError(
            f"the predictions cannot be read: {str(error).splitlines()[0]}",
            remedy="Write CSV with a header, or Parquet.",
        ) from None


@dataclass(frozen=True)
class OnnxModel:
    """An ONNX graph with one input for each feature, or one for all of them as numbers.

    The first output is the label or value; the second, if any, the probabilities (a matrix, or a mapping per row).
    """

    session: Any
    features: tuple[str, ...]
    classes: tuple[str, ...]

    @staticmethod
    def of(data: bytes, features: Sequence[str], classes: Sequence[str]) -> OnnxModel:
        """A session on the CPU. Raises NotSupportedError without onnxruntime, StepError for bytes that are no graph."""
        try:
            import onnxruntime
        except ModuleNotFoundError:
            raise NotSupportedError(
                "an ONNX model needs onnxruntime, which is not installed", remedy="pip install onnxruntime"
            ) from None
        try:
            session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001 - its errors have no common base
            raise StepError(f"model.onnx cannot be read: {str(error).splitlines()[0]}") from None
        return OnnxModel(session, tuple(features), tuple(classes))

    def predict(self, frame: pd.DataFrame) -> Any:
        """Labels or values. frame: (n, p) → (n,)."""
        import numpy as np

        return np.asarray(self._run(frame)[0]).reshape(-1)

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        """Probabilities in the order of the classes, (n, k); None without a second output."""
        import numpy as np

        found = self._run(frame)
        if len(found) < 2 or not self.classes:
            return None
        if isinstance(found[1], list):
            rows = [{str(label): share for label, share in row.items()} for row in found[1]]
            return np.array([[row.get(label, 0.0) for label in self.classes] for row in rows])
        return np.asarray(found[1], dtype=np.float64)

    def _run(self, frame: pd.DataFrame) -> Any:
        import numpy as np

        wanted = self.session.get_inputs()
        if len(wanted) == 1:
            feed = {wanted[0].name: frame.to_numpy(dtype=np.float32)}
        else:
            feed = {each.name: _onnx_column(frame[each.name], each.type) for each in wanted}
        return self.session.run(None, feed)


def _onnx_column(values: pd.Series[Any], kind: str) -> Any:
    import numpy as np

    types = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64, "tensor(bool)": bool}
    if kind == "tensor(string)":
        return values.fillna("").astype(str).to_numpy(dtype=object).reshape(-1, 1)
    return values.to_numpy(dtype=types.get(kind, np.float32)).reshape(-1, 1)


def mlflow_model(folder: Path) -> Any:
    """An MLflow model: the scikit-learn object in it where it has one, for its probabilities, else its pyfunc.

    Raises StepError for a folder that MLflow cannot load.
    """
    import mlflow
    import yaml

    flavors = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8")).get("flavors", {})
    try:
        if "sklearn" in flavors:
            return mlflow.sklearn.load_model(str(folder))
        return mlflow.pyfunc.load_model(str(folder))
    except Exception as error:
        raise StepError(f"MLflow cannot load the model: {str(error).splitlines()[0]}") from error
