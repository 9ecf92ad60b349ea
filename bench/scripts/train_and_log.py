"""The same training, logged to MLflow as its tutorial does, into a fresh SQLite store: `train_and_log.py TABLE`.

Parameters, a metric, a signature, an input example, a registered model; requirements are inferred, as they are when
nothing else is said.
"""

import sys

import mlflow
import pandas as pd
from mlflow.models import infer_signature
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

table = pd.read_csv(sys.argv[1])
features, target = table.drop(columns="target"), table["target"]
X, X_test, y, y_test = train_test_split(features, target, test_size=0.2, stratify=target, random_state=7)
params = {"max_iter": 500}
model = make_pipeline(StandardScaler(), LogisticRegression(**params))
model.fit(X, y)

mlflow.set_tracking_uri("sqlite:///mlflow.db")
mlflow.set_experiment("quickstart")
with mlflow.start_run():
    mlflow.log_params(params)
    mlflow.log_metric("f1_score", f1_score(y_test, model.predict(X_test)))
    mlflow.set_tag("training info", "logistic regression")
    mlflow.sklearn.log_model(
        sk_model=model,
        name="model",
        signature=infer_signature(X, model.predict(X)),
        input_example=X[:5],
        registered_model_name="quickstart",
    )
