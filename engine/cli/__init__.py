"""The command line: argv → a use case of `engine.app` → text and an exit code. The only place that prints and exits.

Exit codes: 0 done, 1 an error (a wrong command line too), 2 `plan --detailed-exitcode` with changes, 3 stopped by a
gate's verdict, 4 locked by another run, 130 interrupted. A command's module is imported when that command is called.
"""

from __future__ import annotations

import gc
import sys
from typing import NoReturn


def main() -> NoReturn:
    """The console script."""
    gc.set_threshold(100_000)  # a plan makes many small objects that all live to its end
    from engine.cli.entry import run

    sys.exit(run(sys.argv[1:]))
