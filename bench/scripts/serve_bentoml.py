"""A model behind BentoML. `bentoml serve serve_bentoml:Predictor`; MODEL names the joblib file."""

import os

import bentoml
import joblib
import pandas as pd


@bentoml.service
class Predictor:
    """Predicts rows given as values by column."""

    def __init__(self) -> None:
        self.model = joblib.load(os.environ["MODEL"])

    @bentoml.api
    def predict(self, instances: list[dict]) -> dict:
        """A prediction for each row."""
        return {"predictions": self.model.predict(pd.DataFrame(instances)).tolist()}
