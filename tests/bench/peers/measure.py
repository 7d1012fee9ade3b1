"""Runs a command to its end. Prints how long it took, in seconds, and the most memory that any one
of its processes had, in KiB. What the command prints goes to stderr."""

import resource
import subprocess
import sys
import time

began = time.monotonic()
code = subprocess.call(sys.argv[1:], stdout=sys.stderr)
seconds = time.monotonic() - began
print(seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
