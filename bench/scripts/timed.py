"""Run a command and report its wall and processor time, exit code and peak memory: `timed.py REPORT OUTPUT COMMAND…`.

Peak memory is that of the largest process of the command and its children (Linux counts it so), in KiB.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

report, output, *argv = sys.argv[1:]
with Path(output).open("wb") as sink:
    begin = time.perf_counter()
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
process.returncode = os.waitstatus_to_exitcode(status)
cpu = usage.ru_utime + usage.ru_stime
found = {"seconds": seconds, "cpu_seconds": cpu, "code": process.returncode, "peak_kib": usage.ru_maxrss}
Path(report).write_text(json.dumps(found))
