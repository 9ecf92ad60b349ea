"""Models as arrays: one row in microseconds, with the answers that scikit-learn gives.

`compile_model(loaded, sample)` gives a `Compiled`, or `NotCompiled` with the reason; `Plain(loaded)` has the same
`answers(columns, n)` and asks the model itself.
"""

from engine.serving.compiled.model import Compiled, NotCompiled, compile_model
from engine.serving.compiled.plain import Answering, Answers, Columns, Plain, columns_of

__all__ = ["Answering", "Answers", "Columns", "Compiled", "NotCompiled", "Plain", "columns_of", "compile_model"]
