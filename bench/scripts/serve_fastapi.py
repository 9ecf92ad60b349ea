"""A model behind plain FastAPI, as tutorials do it. For uvicorn: `serve_fastapi:app`.

MODEL names the joblib file of a model that takes data frames; ARRAYS that of one that takes arrays, if there is one.
"""

import os

import joblib
import numpy as np
import pandas as pd
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
model = joblib.load(os.environ["MODEL"])
of_arrays = joblib.load(os.environ["ARRAYS"]) if "ARRAYS" in os.environ else None


class Rows(BaseModel):
    """Rows to predict: values by column."""

    instances: list[dict[str, float | bool | str | None]]


@app.post("/predict")
def predict(rows: Rows):
    """A prediction for each row."""
    return {"predictions": model.predict(pd.DataFrame(rows.instances)).tolist()}


class Arrays(BaseModel):
    """Rows to predict: numbers in the order of the columns."""

    instances: list[list[float]]


@app.post("/predict_arrays")
def predict_arrays(rows: Arrays):
    """A prediction for each row."""
    return {"predictions": of_arrays.predict(np.array(rows.instances)).tolist()}
