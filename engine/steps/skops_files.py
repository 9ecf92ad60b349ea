"""scikit-learn objects as skops files with the same bytes for the same object, read with a list of trusted types.

skops names the parts of a file by memory addresses and stamps them with the time; both are replaced. Only types on
`TRUSTED`, besides those that skops trusts itself, are ever loaded: nothing in a file can add to the list.
"""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

TRUSTED = frozenset(
    {
        "builtins.bytearray",
        "catboost.core.CatBoostClassifier",
        "catboost.core.CatBoostRegressor",
        "collections.OrderedDict",
        "collections.defaultdict",
        "lightgbm.basic.Booster",
        "lightgbm.sklearn.LGBMClassifier",
        "lightgbm.sklearn.LGBMRegressor",
        "functools.partial",
        "numpy.asarray",
        "numpy.dtype",
        "numpy.interp",
        "numpy.ravel",
        "scipy.interpolate._bsplines.BSpline",
        "scipy.sparse._csr.csr_matrix",
        "sklearn._loss._loss.CyAbsoluteError",
        "sklearn._loss._loss.CyExponentialLoss",
        "sklearn._loss._loss.CyHalfBinomialLoss",
        "sklearn._loss._loss.CyHalfGammaLoss",
        "sklearn._loss._loss.CyHalfMultinomialLoss",
        "sklearn._loss._loss.CyHalfPoissonLoss",
        "sklearn._loss._loss.CyHalfSquaredError",
        "sklearn._loss._loss.CyHalfTweedieLoss",
        "sklearn._loss._loss.CyHuberLoss",
        "sklearn._loss._loss.CyPinballLoss",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.metrics._dist_metrics.EuclideanDistance32",
        "sklearn.metrics._dist_metrics.EuclideanDistance64",
        "sklearn.metrics._dist_metrics.ManhattanDistance32",
        "sklearn.metrics._dist_metrics.ManhattanDistance64",
        "sklearn.metrics._dist_metrics.MinkowskiDistance32",
        "sklearn.metrics._dist_metrics.MinkowskiDistance64",
        "sklearn.neighbors._ball_tree.BallTree",
        "sklearn.neighbors._ball_tree.BallTree64",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neighbors._kd_tree.KDTree64",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.tree._tree.Tree",
        "sklearn.utils._bunch.Bunch",
        "sklearn.utils.validation.check_array",
        "xgboost.core.Booster",
        "xgboost.sklearn.XGBClassifier",
        "xgboost.sklearn.XGBRegressor",
        "xgboost.sklearn.XGBRFClassifier",
        "xgboost.sklearn.XGBRFRegressor",
    }
)
_EPOCH = (1980, 1, 1, 0, 0, 0)


def dumped(model: Any) -> bytes | None:
    """The object as a skops file; None when skops cannot write it or a type in it is not trusted."""
    from skops import io as skops_io

    try:
        data = skops_io.dumps(model)
        untrusted = skops_io.get_untrusted_types(data=data)
    except Exception:  # noqa: BLE001 - what it cannot write it refuses with errors of many kinds
        return None
    return _normalised(data) if set(untrusted) <= TRUSTED else None


def loaded(data: bytes) -> Any:
    """The object in a skops file. Raises skops' own error for a type that is not trusted."""
    from skops import io as skops_io

    return skops_io.loads(data, trusted=sorted(TRUSTED & set(skops_io.get_untrusted_types(data=data))))


def _normalised(data: bytes) -> bytes:
    """The same file with parts numbered in the order of the schema, and no times."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        schema = json.loads(archive.read("schema.json"))
        contents = {name: archive.read(name) for name in archive.namelist() if name != "schema.json"}
    names = _Numbers(set(contents))
    schema = names.applied(schema)
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(contents, key=lambda old: int(names.file(old).partition(".")[0])):
            archive.writestr(zipfile.ZipInfo(names.file(name), _EPOCH), contents[name])
        archive.writestr(zipfile.ZipInfo("schema.json", _EPOCH), json.dumps(schema))
    return target.getvalue()


class _Numbers:
    """Addresses, numbered as they are met."""

    def __init__(self, files: set[str]) -> None:
        self._files = files
        self._numbers: dict[str, int] = {}

    def number(self, address: object) -> int:
        """The number of an address."""
        return self._numbers.setdefault(str(address), len(self._numbers) + 1)

    def file(self, name: str) -> str:
        """The new name of a part named by its address, or by chance."""
        stem, dot, suffix = name.partition(".")
        return f"{self.number(stem)}{dot}{suffix}"

    def applied(self, node: Any) -> Any:
        """A schema's node with its addresses replaced."""
        if isinstance(node, dict):
            return {key: self._value(key, value) for key, value in node.items()}
        if isinstance(node, list):
            return [self.applied(item) for item in node]
        return node

    def _value(self, key: str, value: Any) -> Any:
        if key == "__id__":
            return self.number(value)
        if isinstance(value, str) and value in self._files:
            return self.file(value)
        return self.applied(value)
