"""Who holds a lease, in words that tell whether the process still lives.

`ana@box pid 1234 start 987654 boot <boot id>.<pid namespace>`. Only a process of this host, boot and process
namespace is ever called dead; everybody else keeps a lease until it expires.
"""

from __future__ import annotations

import getpass
import os
import re
import socket
from pathlib import Path

_FORMAT = re.compile(r"(?P<who>\S+) pid (?P<pid>\d+) start (?P<start>\d+) boot (?P<boot>\S+)")


def this_process() -> str:
    """The holder string of the running process."""
    pid = os.getpid()
    return f"{_user()}@{socket.gethostname()} pid {pid} start {_start_time(pid) or 0} boot {_boot()}"


def is_dead(holder: str) -> bool:
    """Whether the holder is a process of this very host and boot that has ended. False when in doubt."""
    match = _FORMAT.fullmatch(holder)
    if match is None or match["who"].rpartition("@")[2] != socket.gethostname() or match["boot"] != _boot():
        return False
    pid = int(match["pid"])
    if not _answers(pid):
        return True
    started = _start_time(pid)  # unknown where there is no /proc, or where it hides other users' processes
    return started is not None and started != int(match["start"])


def pretty(holder: str) -> str:
    """For messages: `ana@box, pid 1234`."""
    match = _FORMAT.fullmatch(holder)
    return f"{match['who']}, pid {match['pid']}" if match else holder


def actor(holder: str) -> str:
    """For the audit log: `ana@box`."""
    match = _FORMAT.fullmatch(holder)
    return match["who"] if match else holder


def _user() -> str:
    try:
        return re.sub(r"\s", "_", getpass.getuser())
    except (KeyError, OSError):  # a container's user need not have a name
        return f"uid{os.getuid()}"


def _boot() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}.{os.stat('/proc/self/ns/pid').st_ino}"  # noqa: PTH116 - follows the link to the namespace
    except OSError:
        return "unknown"


def _start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; -1 for one that has ended (a zombie), None if unknown."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name, in parentheses, may hold anything; fields are counted from behind it.
    fields = stat.rpartition(")")[2].split()
    return -1 if fields[0] in "ZX" else int(fields[19])


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
