"""A model behind plain FastAPI, as tutorials do it. For uvicorn: `serve_fastapi:app`; MODEL names the joblib file."""

import os

import joblib
import pandas as pd
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
model = joblib.load(os.environ["MODEL"])


class Rows(BaseModel):
    """Rows to predict: values by column."""

    instances: list[dict[str, float | bool | str | None]]


@app.post("/predict")
def predict(rows: Rows):
    """A prediction for each row."""
    return {"predictions": model.predict(pd.DataFrame(rows.instances)).tolist()}
