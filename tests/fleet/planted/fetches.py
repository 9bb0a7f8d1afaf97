"""The program of a command: says at its end all that it was given."""

import os
import sys

sys.exit(f"no entry for {os.environ['FETCH_TOKEN']} at the gate")
