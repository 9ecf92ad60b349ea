"""Models from the user's own functions and commands, in Python and in other languages."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from lifecycle_project import Project
from sklearn.linear_model import LinearRegression

from engine.errors import IntegrityError, StepError
from engine.steps import command


@pytest.fixture
def numbers() -> pd.DataFrame:
    generator = np.random.default_rng(1)
    price = generator.normal(10, 3, 120).round(3)
    return pd.DataFrame({"price": price, "weight": generator.normal(size=120).round(3), "target": price * 2 + 1})


def test_a_function_gets_what_it_asks_for(project: Project, people: pd.DataFrame) -> None:
    project.write("shop/__init__.py", "")
    project.write("shop/depth.py", "def of(value): return value + 1\n")
    project.write(
        "shop/model.py",
        "from sklearn.tree import DecisionTreeClassifier\n"
        "from shop.depth import of\n"
        "class Rule:\n"
        "    def __init__(self, limit): self.limit = limit\n"
        "    def predict(self, X): return ['yes' if (a == a and a > of(self.limit)) else 'no' for a in X['age']]\n"
        "def train(X, y, seed, schema, limit=40):\n"
        "    assert 'target' not in X and len(X) == len(y) == schema['rows']['train']\n"
        "    return Rule(limit + seed)\n"
        "def by_params(X, params): return Rule(**params)\n"
        "def nothing(X): return None\n"
        "def fails(X): raise RuntimeError('the table is empty')\n"
        "def odd(X, colour): return None\n",
    )
    project.split(people)
    outcome = project.train(function="shop.model:train", params={"limit": 41}, seed=1)
    assert outcome.facts["format"] == "pickle"
    assert project.model().predictor.limit == 42
    report = project.measure()
    assert report["metrics"]["accuracy"]["value"] > 0.5
    assert report["metrics"]["roc_auc"] == {
        "value": None,
        "low": None,
        "high": None,
        "reason": "the model gives no probabilities",
        "average": "binary",
    }
    assert project.validate({"metric": "roc_auc", "threshold": 0.5}).verdict == "inconclusive"

    # The project's own modules travel inside the file.
    file = project.outputs["train.model"] / "model.pkl"
    code = f"import cloudpickle; print(cloudpickle.load(open({str(file)!r}, 'rb')).limit)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/").stdout == "42\n"

    project.train(function="shop.model:by_params", params={"limit": 7})
    assert project.model().predictor.limit == 7
    for function, message in (
        ("shop.model:nothing", "has no predict"),
        ("shop.model:fails", "raised RuntimeError: the table is empty"),
        ("shop.model:odd", "wants an argument colour"),
        ("shop.model:absent", "has no function absent"),
        ("shop.gone:train", "there is no module shop.gone"),
    ):
        with pytest.raises(StepError, match=message):
            project.train(function=function)
    with pytest.raises(StepError, match="takes no parameter limits"):
        project.train(function="shop.model:train", params={"limits": 3})


def test_a_function_sees_its_environment_only_while_it_runs(project: Project, numbers: pd.DataFrame) -> None:
    project.write(
        "envmodel.py",
        "import os\nfrom sklearn.dummy import DummyRegressor\n"
        "def train(X, y):\n"
        "    assert os.environ['TOKEN'] == 's3cret'\n"
        "    return DummyRegressor().fit(X, y)\n",
    )
    project.split(numbers)
    assert project.train(function="envmodel:train", environment={"TOKEN": "${env:TOKEN}"}).facts["format"] == "skops"
    import os

    assert "TOKEN" not in os.environ


def test_a_command_in_shell_and_awk(project: Project, numbers: pd.DataFrame) -> None:
    train = project.write(
        "train.sh",
        'grep -q \'"depth": 3\' "$ENGINE_PARAMS" || exit 9\n'
        "awk -F, 'NR > 1 { x += $1; y += $3; xy += $1 * $3; xx += $1 * $1; n += 1 }\n"
        "  END { b = (n * xy - x * y) / (n * xx - x * x); print b, (y - b * x) / n }' \\\n"
        '  "$ENGINE_INPUT_TRAIN_CSV" > "$ENGINE_OUTPUT_MODEL/line.txt"\n',
    )
    predict = project.write(
        "predict.sh",
        'read slope start < "$1/line.txt"\n'
        'awk -F, -v b="$slope" -v a="$start" \'NR == 1 { print "prediction" } NR > 1 { print a + b * $1 }\' \\\n'
        '  "$ENGINE_INPUT_TABLE_CSV" > "$ENGINE_OUTPUT_PREDICTIONS"\n',
    )
    project.split(numbers)
    outcome = project.train(run=["sh", str(train)], params={"depth": 3})
    assert outcome.facts["format"] == "command"
    project.evaluate(predict=["sh", str(predict), "${inputs.model}"])
    assert project.json("evaluate.report")["metrics"]["rmse"]["value"] < 0.01
    with pytest.raises(Exception, match="only be used through its predict command"):
        project.model()


@pytest.mark.skipif(shutil.which("perl") is None, reason="needs perl")
def test_a_classifier_in_perl(project: Project, people: pd.DataFrame) -> None:
    project.split(people[["age", "city", "target"]])
    train = ["perl", "-e", 'open(F, ">", "$ENV{ENGINE_OUTPUT_MODEL}/rule") or die; print F "42\\n"']
    predict = [
        "perl",
        "-e",
        'open(M, "<", "$ENV{ENGINE_INPUT_MODEL}/rule"); $limit = <M>;'
        'open(T, "<", "$ENV{ENGINE_INPUT_TABLE_CSV}"); <T>;'
        'open(P, ">", "$ENV{ENGINE_OUTPUT_PREDICTIONS}"); print P "prediction,probability_no,probability_yes\\n";'
        "while (<T>) { ($age) = split /,/; $p = $age > $limit ? 0.8 : 0.2;"
        'print P ($p > 0.5 ? "yes" : "no"), ",", 1 - $p, ",", $p, "\\n" }',
    ]
    project.train(run=train)
    project.evaluate(predict=predict)
    report = project.json("evaluate.report")
    assert report["metrics"]["roc_auc"]["value"] > 0.5
    assert project.validate({"metric": "roc_auc", "min": 0.5}).verdict == "pass"


def test_a_command_in_python(project: Project, numbers: pd.DataFrame) -> None:
    script = project.write(
        "fit.py",
        "import os, json, pandas as pd, skops.io\nfrom sklearn.linear_model import LinearRegression\n"
        "rows = pd.read_parquet(os.environ['ENGINE_INPUT_TRAIN'])\n"
        "schema = json.load(open(os.environ['ENGINE_INPUT_SCHEMA']))\n"
        "names = [f['name'] for f in schema['features']]\n"
        "model = LinearRegression().fit(rows[names], rows[os.environ['ENGINE_TARGET']])\n"
        "skops.io.dump(model, os.path.join(os.environ['ENGINE_OUTPUT_MODEL'], 'model.skops'))\n",
    )
    project.split(numbers)
    project.train(run=["python", str(script)])
    assert project.json("train.report")["estimator"] == f"python {script}"
    assert project.measure()["metrics"]["r2"]["value"] > 0.999


@pytest.mark.parametrize("name", ["model.pkl", "model.joblib"])
def test_a_command_leaves_a_file_that_we_can_read(project: Project, numbers: pd.DataFrame, name: str) -> None:
    model = LinearRegression().fit(numbers[["price", "weight"]], numbers["target"])
    made = project.root / "made"
    joblib.dump(model, made) if name.endswith("joblib") else made.write_bytes(pickle.dumps(model))
    project.split(numbers)
    project.train(run=["cp", str(made), f"${{outputs.model}}/{name}"])
    assert project.measure()["metrics"]["r2"]["value"] > 0.999


@pytest.mark.parametrize("predict", [None, ["sh", "-c", "touch read"]])
def test_what_may_run_code_is_evaluated_only_if_it_is_signed(
    project: Project, numbers: pd.DataFrame, predict: list[str] | None
) -> None:
    made = project.write("made", "")
    made.write_bytes(pickle.dumps(Evil(project.root / "read")))
    project.split(numbers)
    project.train(run=["cp", str(made), "${outputs.model}/model.pkl"])
    with pytest.raises(IntegrityError, match="not signed by this project's training"):
        project.evaluate(predict, signed=False)
    assert not list(project.root.rglob("read"))
    with pytest.raises(StepError):
        project.evaluate(predict)
    assert list(project.root.rglob("read")), "with a signature it is"


class Evil:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


@pytest.mark.slow
def test_a_command_that_leaves_an_mlflow_model(project: Project, numbers: pd.DataFrame) -> None:
    script = project.write(
        "fit.py",
        "import os, pandas as pd, mlflow.sklearn, logging\n"
        "from sklearn.linear_model import LinearRegression\n"
        "rows = pd.read_parquet(os.environ['ENGINE_INPUT_TRAIN'])\n"
        "model = LinearRegression().fit(rows[['price', 'weight']], rows['target'])\n"
        "mlflow.sklearn.save_model(model, os.environ['ENGINE_OUTPUT_MODEL'], pip_requirements=['scikit-learn'],\n"
        "                          skops_trusted_types=['numpy.dtype'])\n",
    )
    project.split(numbers)
    outcome = project.train(run=["python", str(script)], environment={"MLFLOW_DISABLE_TELEMETRY": "true"})
    assert outcome.facts["format"] == "mlflow"


def test_commands_that_fail_say_how(project: Project, numbers: pd.DataFrame) -> None:
    project.split(numbers)
    for run, message in (
        (["sh", "-c", "exit 7"], "sh exited with code 7"),
        (["sh", "-c", "kill -9 $$"], "killed by signal 9"),
        (["no-such-program"], "the program no-such-program does not exist"),
        (["true"], "left nothing in its model folder"),
        (["echo", "${inputs.trian}"], "which does not exist"),
    ):
        with pytest.raises(StepError, match=message):
            project.train(run=run)


def test_predictions_that_do_not_fit_say_why(project: Project, numbers: pd.DataFrame) -> None:
    project.split(numbers)
    project.train(run=["sh", "-c", 'echo x > "$ENGINE_OUTPUT_MODEL/x"'])
    for script, message in (
        ("echo prediction; echo 1", "1 predictions for 30 rows"),
        ("echo value; seq 30", "no column prediction"),
    ):
        with pytest.raises(StepError, match=message):
            project.evaluate(predict=["sh", "-c", f'({script}) > "$ENGINE_OUTPUT_PREDICTIONS"'])
    project.evaluate(predict=["sh", "-c", '(echo prediction; seq 29; echo nan) > "$ENGINE_OUTPUT_PREDICTIONS"'])
    report = project.json("evaluate.report")
    assert report["error"] == "1 of 30 predictions are not finite"
    assert all(entry["value"] is None for entry in report["metrics"].values())
    assert project.validate({"metric": "rmse", "max": 1000}).verdict == "error"


def test_a_step_of_the_users_own(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    source = project.write("data.txt", "b\na\n")
    context = project.context(
        "sorting",
        {
            "steps": {
                "sorting": {
                    "run": ["sh", "-c", 'sort "$1" > "$2"; echo $COLOUR', "-", "${inputs.raw}", "${outputs.table}"],
                    "environment": {"COLOUR": "${env:TOKEN}"},
                }
            }
        },
        {"raw": source},
        {"table": "sorted.txt"},
    )
    outcome = command.run(context)
    assert context.outputs["table"].read_text() == "a\nb\n"
    assert capfd.readouterr().out == "s3cret\n"
    assert outcome.facts == {"bytes": 4}

    lazy = project.context("lazy", {"steps": {"lazy": {"run": ["true"], "environment": {}}}}, {}, {"table": "t.csv"})
    with pytest.raises(StepError, match="its output table is not there") as caught:
        command.run(lazy)
    assert "ENGINE_OUTPUT_TABLE" in caught.value.remedy
