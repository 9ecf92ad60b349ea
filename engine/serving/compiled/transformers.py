"""Fitted transformers → blocks: what each one makes of a block at compile time.

A table from types to functions: exactly these types, since a subclass may do something else. Every other transformer
of scikit-learn that is given numbers keeps its own `transform`, without the checks of a DataFrame's names.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.serving.compiled import encoders, texts
from engine.serving.compiled.blocks import (
    Block,
    Cell,
    Cells,
    Floats,
    NotCompilableError,
    Numbers,
    Slot,
    Slots,
    numbers_of,
    stacked,
)
from engine.serving.compiled.dates import MICROSECONDS, microseconds

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NOT_A_TIME = float(-(2**63))  # what NumPy's NaT becomes as a number


def transformed(transformer: Any, block: Block) -> Block:
    """What a fitted transformer makes of a block. Raises NotCompilableError."""
    if transformer is None or (isinstance(transformer, str) and transformer == "passthrough"):
        return block
    if getattr(transformer, "_sklearn_output_config", {}).get("transform", "default") != "default":
        raise NotCompilableError(f"{_name(transformer)} gives DataFrames")
    known = _TRANSFORMERS.get(f"{type(transformer).__module__}.{_name(transformer)}")
    if known is not None:
        return known(transformer, block)
    if _is_selector(transformer):
        return numbers_of(block).select(transformer.get_support(indices=True).tolist())
    return _own(transformer, block)


def nameless(fitted: Any) -> Any:
    """A shallow copy that takes arrays without names, if the object was fitted with a DataFrame."""
    if not hasattr(fitted, "feature_names_in_"):
        return fitted
    bare = copy.copy(fitted)
    try:
        del bare.feature_names_in_
    except AttributeError:  # a property: it asks its own steps
        raise NotCompilableError(f"{_name(fitted)} wants the names of columns") from None
    return bare


def _own(transformer: Any, block: Block) -> Numbers:
    import numpy as np

    if not type(transformer).__module__.startswith("sklearn."):
        raise NotCompilableError(f"{_name(transformer)} is not known")
    numbers = numbers_of(block)
    bare = nameless(transformer)
    width = np.asarray(bare.transform(np.zeros((1, numbers.width)))).shape
    if len(width) != 2:
        raise NotCompilableError(f"{_name(transformer)} does not give columns")

    def apply(values: Floats) -> Floats:
        found: Floats = np.asarray(bare.transform(values), dtype=np.float64)
        return found

    return numbers.then(apply, width[1])


# ── transformers of transformers ─────────────────────────────────────────────────────────────────────────────


def _pipeline(pipeline: Any, block: Block) -> Block:
    for _, step in pipeline.steps:
        block = transformed(step, block)
    return block


def _union(union: Any, block: Block) -> Block:
    if union.transformer_weights:
        raise NotCompilableError("FeatureUnion with weights")
    return stacked([transformed(step, block) for _, step in union.transformer_list if step != "drop"])


def _columns(columns: Any, block: Block) -> Block:
    if columns.transformer_weights:
        raise NotCompilableError("ColumnTransformer with weights")
    parts = []
    for _, step, wanted in columns.transformers_:
        if isinstance(step, str) and step == "drop":
            continue
        chosen = _chosen(block, wanted, getattr(columns, "feature_names_in_", None))
        if (chosen.cells if isinstance(chosen, Cells) else chosen.parts) or isinstance(wanted, str):
            parts.append(transformed(step, chosen))
    return stacked(parts)


def _chosen(block: Block, wanted: Any, names: Sequence[str] | None) -> Block:
    """The columns that a fitted ColumnTransformer gives to one of its steps."""
    import numpy as np

    flat = isinstance(wanted, (str, int)) and not isinstance(wanted, bool)
    width = len(block.cells) if isinstance(block, Cells) else block.width
    indices = _indices([wanted] if flat else wanted, width, names)
    if isinstance(block, Numbers):
        if flat:
            raise NotCompilableError("a single column of numbers without its second dimension")
        return block.select(indices)
    cells = np.array(block.cells, dtype=object)[indices].tolist() if indices else []
    return Cells(tuple(cells), flat)


def _indices(wanted: Any, width: int, names: Sequence[str] | None) -> list[int]:
    import numpy as np

    if isinstance(wanted, slice):
        if any(isinstance(end, str) for end in (wanted.start, wanted.stop)):
            raise NotCompilableError("columns chosen by a slice of names")
        return list(range(width))[wanted]
    chosen = list(wanted)
    if chosen and all(isinstance(column, str) for column in chosen):
        if names is None:
            raise NotCompilableError("columns chosen by name, but fitted without names")
        places = {name: place for place, name in enumerate(names)}
        return [places[column] for column in chosen]
    if chosen and all(isinstance(column, (bool, np.bool_)) for column in chosen):
        return [place for place, taken in enumerate(chosen) if taken]
    return [range(width)[int(column)] for column in chosen]


# ── functions, gaps, scales ──────────────────────────────────────────────────────────────────────────────────


def _function(transformer: Any, block: Block) -> Block:
    import numpy as np

    function, keywords = transformer.func, transformer.kw_args or {}
    if function is None and not keywords:
        return block
    if function is np.asarray and set(keywords) <= {"dtype"}:
        return _as_array(np.dtype(keywords.get("dtype", np.float64)), block)
    if function is np.ravel and not keywords and isinstance(block, Cells) and len(block.cells) == 1:
        return Cells(block.cells, flat=True)
    if function is np.interp and set(keywords) == {"xp", "fp", "period"}:
        numbers = numbers_of(block)
        return numbers.then(_interpolation(**keywords), numbers.width)
    if isinstance(function, np.ufunc) and function.nin == function.nout == 1 and not keywords:
        numbers = numbers_of(block)
        ufunc: Callable[[Any], Any] = function
        return numbers.then(lambda values: ufunc(values).astype(np.float64), numbers.width)
    raise NotCompilableError(f"FunctionTransformer of {getattr(function, '__name__', function)}")


def _as_array(dtype: Any, block: Block) -> Block:
    if dtype.kind == "O" and isinstance(block, Cells):
        return block
    if dtype == "float64":
        return _as_floats(block)
    if dtype == "datetime64[s]" and isinstance(block, Cells) and all(cell.kind == "date" for cell in block.cells):
        return Cells(tuple(Cell(cell.name, "seconds") for cell in block.cells))
    raise NotCompilableError(f"a conversion to {dtype}")


def _as_floats(block: Block) -> Numbers:
    if isinstance(block, Cells) and all(cell.kind == "seconds" for cell in block.cells):
        return Numbers((Slots(tuple(Slot(cell.name, read=_seconds) for cell in block.cells)),))
    return numbers_of(block)


def _seconds(value: Any) -> float:
    return _NOT_A_TIME if value is None else float(microseconds(value) // MICROSECONDS)


def _interpolation(xp: Sequence[float], fp: Sequence[float], period: float) -> Callable[[Floats], Floats]:
    """np.interp with a period, whose points are put in order once."""
    import numpy as np

    width = abs(period)
    places, heights = np.asarray(xp, dtype=np.float64) % width, np.asarray(fp, dtype=np.float64)
    order = np.argsort(places)
    places, heights = places[order], heights[order]
    places = np.concatenate((places[-1:] - width, places, places[:1] + width))
    heights = np.concatenate((heights[-1:], heights, heights[:1]))
    return lambda values: np.interp(values % width, places, heights)


def _imputer(imputer: Any, block: Block) -> Block:
    import numpy as np

    gap = imputer.missing_values
    is_nan = gap is None or (isinstance(gap, float) and np.isnan(gap))
    if isinstance(block, Cells) and any(cell.kind in ("categorical", "text") for cell in block.cells):
        return _filled_cells(imputer, block, is_nan)
    if not is_nan and not isinstance(gap, (int, float)):
        raise NotCompilableError(f"SimpleImputer of {gap!r}")
    numbers = numbers_of(block)
    statistics = np.asarray(imputer.statistics_, dtype=np.float64)
    kept = np.arange(len(statistics)) if imputer.keep_empty_features else np.flatnonzero(~np.isnan(statistics))
    fill = statistics[kept]
    whole = len(kept) == len(statistics)
    indicated = imputer.indicator_.features_ if imputer.add_indicator else np.zeros(0, dtype=np.intp)
    mask_of: Callable[[Floats], NDArray[Any]] = np.isnan if is_nan else (lambda values: values == gap)

    def impute(values: Floats) -> Floats:
        mask = mask_of(values)
        filled = np.where(mask, fill, values) if whole else np.where(mask[:, kept], fill, values[:, kept])
        return np.concatenate((filled, mask[:, indicated]), axis=1) if indicated.size else filled

    return numbers.then(impute, len(kept) + len(indicated))


def _filled_cells(imputer: Any, block: Cells, is_nan: bool) -> Block:
    """A missing value of JSON is NaN in the DataFrame, so that an imputer of None finds none."""
    if imputer.missing_values is None:
        return block
    if not is_nan or imputer.add_indicator:
        raise NotCompilableError("SimpleImputer of categories with an indicator or an own sign for gaps")
    fills = imputer.statistics_.tolist()
    if any(not isinstance(fill, str) for fill in fills):
        raise NotCompilableError("SimpleImputer that fills categories with no text")
    cells = zip(block.cells, fills, strict=True)
    return Cells(tuple(Cell(c.name, c.kind, fill if c.fill is None else c.fill) for c, fill in cells), block.flat)


def _standard(scaler: Any, block: Block) -> Block:
    return _shifted(block, scaler.mean_ if scaler.with_mean else None, scaler.scale_ if scaler.with_std else None)


def _robust(scaler: Any, block: Block) -> Block:
    center, scale = scaler.with_centering, scaler.with_scaling
    return _shifted(block, scaler.center_ if center else None, scaler.scale_ if scale else None)


def _shifted(block: Block, shift: Floats | None, scale: Floats | None) -> Numbers:
    numbers = numbers_of(block)
    if shift is not None and scale is not None:
        subtracted, divided = shift, scale
        return numbers.then(lambda values: (values - subtracted) / divided, numbers.width)
    if shift is not None:
        only_shift = shift
        return numbers.then(lambda values: values - only_shift, numbers.width)
    if scale is not None:
        only_scale = scale
        return numbers.then(lambda values: values / only_scale, numbers.width)
    return numbers


def _min_max(scaler: Any, block: Block) -> Block:
    import numpy as np

    numbers = numbers_of(block)
    scale, shift, clip = scaler.scale_, scaler.min_, scaler.clip
    low, high = scaler.feature_range

    def scaled(values: Floats) -> Floats:
        found: Floats = values * scale + shift
        return np.clip(found, low, high) if clip else found

    return numbers.then(scaled, numbers.width)


def _is_selector(transformer: Any) -> bool:
    from sklearn.feature_selection import SelectorMixin

    return isinstance(transformer, SelectorMixin) and type(transformer).__module__.startswith("sklearn.")


def _name(thing: object) -> str:
    return type(thing).__name__


_TRANSFORMERS: Mapping[str, Callable[[Any, Block], Block]] = {
    "sklearn.pipeline.Pipeline": _pipeline,
    "sklearn.pipeline.FeatureUnion": _union,
    "sklearn.compose._column_transformer.ColumnTransformer": _columns,
    "sklearn.preprocessing._function_transformer.FunctionTransformer": _function,
    "sklearn.impute._base.SimpleImputer": _imputer,
    "sklearn.preprocessing._data.StandardScaler": _standard,
    "sklearn.preprocessing._data.RobustScaler": _robust,
    "sklearn.preprocessing._data.MinMaxScaler": _min_max,
    "sklearn.preprocessing._encoders.OneHotEncoder": encoders.one_hot,
    "sklearn.preprocessing._encoders.OrdinalEncoder": encoders.ordinal,
    "sklearn.feature_extraction.text.CountVectorizer": texts.vectorised,
    "sklearn.feature_extraction.text.TfidfVectorizer": texts.vectorised,
}
