"""Plays a transcript as the FVP would: python standin.py TRANSCRIPT EXIT [FVP's arguments]; EXIT < 0 is a signal.

With a command line of the image (``cpu0.semihosting-cmd_line``) it also leaves the files that the image would write.
"""

import os
import shlex
import shutil
import sys
from pathlib import Path

text = Path(sys.argv[1]).read_text(encoding="utf-8")
sys.stdout.write(text)
sys.stdout.flush()
for argument in sys.argv[3:]:
    if argument.startswith("cpu0.semihosting-cmd_line="):
        _, given, made, results = shlex.split(argument.partition("=")[2])[:4]
        shutil.copyfile(given, made)
        Path(results).write_text(next(line for line in text.splitlines() if line.startswith("{")), encoding="utf-8")
code = int(sys.argv[2])
if code < 0:
    os.kill(os.getpid(), -code)
sys.exit(code)
