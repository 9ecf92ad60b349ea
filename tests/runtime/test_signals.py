"""A process that is being started is out of Ctrl-C's reach from its first moment on."""

from __future__ import annotations

import signal
import subprocess
import sys

from engine.signals import interrupts_held

CODE = """
import os, signal
os.kill(os.getpid(), signal.SIGINT)  # before it could do anything
from engine.signals import ignore_interrupts
ignore_interrupts()
os.kill(os.getpid(), signal.SIGINT)
print("still here")
"""


def test_an_interrupt_does_not_end_a_process_that_begins() -> None:
    with interrupts_held():
        started = subprocess.Popen([sys.executable, "-c", CODE], stdout=subprocess.PIPE, text=True)
    assert started.communicate(timeout=60)[0] == "still here\n"
    assert started.returncode == 0


def test_holding_interrupts_leaves_the_mask_as_it_was() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, set())
    with interrupts_held():
        assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, set())
    assert signal.pthread_sigmask(signal.SIG_BLOCK, set()) == before
