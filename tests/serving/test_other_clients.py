"""Clients that were written for other servers: MLflow's own of its scoring server, and Triton's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from served import MISCHIEF, TWIN, Gateway, release_of, set_endpoint
from tritonclient import http as triton
from tritonclient.utils import InferenceServerException

from engine.app.workspace import open_workspace
from engine.steps.model_files import LoadedModel
from engine.testing.models import model_in

ROWS = pd.DataFrame(
    {
        "months": [3.0, 11.5, 0.0, 24.0, 40.0, 7.25],
        "calls": [5, 0, 9, 2, 7, 1],
        "plan": ["a", "b", "c", "a", "ü", "b"],
    }
)


@pytest.fixture(scope="module")
def model(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """The live release, as scikit-learn has it."""
    folder = open_workspace(gateway.folder).artifacts.path(release_of(gateway.folder, 1).artifact)
    return model_in(folder, tmp_path_factory.mktemp("model") / "private")


# ── MLflow ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.filterwarnings("ignore")  # of MLflow, when it is imported
def test_mlflows_scoring_client(live: Gateway, model: LoadedModel) -> None:
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

    host, _, port = live.address.rpartition(":")
    scoring = ScoringServerClient(host, int(port))
    scoring.wait_server_ready(timeout=20)
    assert scoring.get_version()
    expected = list(model.predict(ROWS))
    assert len(set(expected)) == 2
    assert scoring.invoke(ROWS).get_predictions().iloc[:, 0].tolist() == expected
    reordered = ROWS[["plan", "months", "calls"]]
    assert scoring.invoke(reordered).get_predictions().iloc[:, 0].tolist() == expected
    with pytest.raises(Exception, match=r"(?s)error code 422.*BAD_REQUEST.*plan"):
        scoring.invoke(ROWS.drop(columns="plan"))


def test_what_mlflows_server_tells_of_itself(live: Gateway) -> None:
    for path in ("/ping", "/health"):
        assert live.ask(path).status == 200
    assert live.ask("/version").body.decode().strip()


# ── the Open Inference Protocol ──────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def client(live: Gateway) -> Iterator[Any]:
    found = triton.InferenceServerClient(live.address)
    yield found
    found.close()


def tensors(frame: pd.DataFrame, *, binary: bool, numbers: str = "FP64") -> list[Any]:
    """A tensor for each column, of shape [n, 1]."""
    found = []
    for name in frame:
        values = frame[[name]].to_numpy()
        kind = "BYTES" if values.dtype == object else numbers
        own = values if kind == "BYTES" else values.astype(triton_types[kind])
        found.append(triton.InferInput(name, list(own.shape), kind))
        found[-1].set_data_from_numpy(own, binary_data=binary)
    return found


triton_types = {"FP64": np.float64, "FP32": np.float32, "INT64": np.int64}


def test_tritons_client_looks_around(live: Gateway, client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("churn")
    assert client.is_model_ready("churn", "1")
    assert not client.is_model_ready("nobody")
    assert not client.is_model_ready("churn", "99")
    assert client.get_server_metadata()["name"] == "engine"
    for version in ("", "1"):
        found = client.get_model_metadata("churn", version)
        assert (found["name"], "1" in found["versions"]) == ("churn", True)
        assert {each["name"]: each["datatype"] for each in found["inputs"]} == {
            "months": "FP64", "calls": "FP64", "plan": "BYTES",
        }  # fmt: skip
        assert {each["name"]: each["datatype"] for each in found["outputs"]} == {
            "predict": "BYTES", "predict_proba": "FP64",
        }  # fmt: skip
    with pytest.raises(InferenceServerException, match="no such model"):
        client.get_model_metadata("nobody")


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("outputs", [None, False, True])
def test_tritons_client_infers(client: Any, model: LoadedModel, binary: bool, outputs: bool | None) -> None:
    wanted = (
        None
        if outputs is None
        else [triton.InferRequestedOutput(name, binary_data=outputs) for name in ("predict", "predict_proba")]
    )
    answer = client.infer("churn", tensors(ROWS, binary=binary), outputs=wanted, request_id="r-1")
    labels = [value.decode() if isinstance(value, bytes) else value for value in answer.as_numpy("predict")]
    assert labels == list(model.predict(ROWS))
    np.testing.assert_allclose(answer.as_numpy("predict_proba"), model.predict_proba(ROWS), atol=1e-12)
    response = answer.get_response()
    assert (response["model_name"], response["model_version"]) == ("churn", "1")
    assert response["id"] == "r-1"


def test_tritons_client_names_a_version_and_hears_of_mistakes(live: Gateway, client: Any, model: LoadedModel) -> None:
    set_endpoint(live.folder, candidate=TWIN, weight=0.1)
    live.effective(stable=1, candidate=TWIN, weight=0.1)
    whole = ROWS.assign(months=[1.0, 2, 3, 4, 5, 6])
    for version in ("1", str(TWIN)):
        for numbers in ("FP32", "INT64"):
            answer = client.infer("churn", tensors(whole, binary=True, numbers=numbers), version)
            assert answer.get_response()["model_version"] == version
            assert [str(value) for value in answer.as_numpy("predict")] == list(model.predict(whole))
    with pytest.raises(InferenceServerException, match="plan"):
        client.infer("churn", tensors(ROWS[["months", "calls"]], binary=True))
    with pytest.raises(InferenceServerException, match="not loaded"):
        client.infer("churn", tensors(ROWS, binary=False), str(MISCHIEF + 90))


def test_tritons_client_infers_asynchronously(client: Any, model: LoadedModel) -> None:
    asked = [client.async_infer("churn", tensors(ROWS.iloc[[row]], binary=True)) for row in range(len(ROWS))]
    found = [each.get_result().as_numpy("predict")[0] for each in asked]
    assert [str(value) for value in found] == list(model.predict(ROWS))
