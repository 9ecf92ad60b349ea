"""What the executor's tests run in its processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from engine.errors import StepError
from engine.ports import StepContext, StepOutcome


def say(context: StepContext) -> StepOutcome:
    """Print, report progress, read an input and write an output."""
    print("to stdout")
    print("to stderr", file=sys.stderr)
    os.system("echo from a child")
    context.progress(1, 2, "half")
    text = context.inputs["text"].read_text() if "text" in context.inputs else ""
    for path in context.outputs.values():
        path.write_text(text.upper())
    return StepOutcome({"environment": sorted(os.environ), "folder": str(Path.cwd())}, "said")


def tell_secret(context: StepContext) -> StepOutcome:
    """Print a secret in pieces that are flushed one by one."""
    secret = context.resolve("${env:A}")
    for character in f"before {secret} after\n":
        os.write(1, character.encode())
        time.sleep(0.001)
    return StepOutcome()


def fail(context: StepContext) -> StepOutcome:
    kind = context.settings["how"]
    if kind == "known":
        raise StepError("no such column", remedy="Name another.")
    if kind == "unknown":
        raise ValueError("a bad\nvalue")
    if kind == "signal":
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind == "exit":
        os._exit(7)
    if kind == "sys.exit":
        sys.exit(3)
    if kind == "memory":
        bytearray(1 << 30)
    return StepOutcome()


def sleep_with_grandchildren(context: StepContext) -> StepOutcome:
    """Start a process that starts another, both deaf to SIGTERM, and wait for them."""
    code = (
        "import os, signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "open(sys.argv[1], 'a').write(f'{os.getpid()}\\n');"
        "n = int(sys.argv[2]);"
        "n and subprocess.run([sys.executable, '-c', sys.argv[3], sys.argv[1], str(n - 1), sys.argv[3]]);"
        "time.sleep(600)"
    )
    subprocess.run([sys.executable, "-c", code, str(Path(context.settings["pids"])), "1", code])
    return StepOutcome()


def forget_output(context: StepContext) -> StepOutcome:
    return StepOutcome()


def sleep(context: StepContext) -> StepOutcome:
    """Sleep for a minute."""
    time.sleep(60)
    return StepOutcome()
