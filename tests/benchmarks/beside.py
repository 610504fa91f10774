"""Import this first: with it a benchmark can import the modules of tests/studies by their names."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "studies"))
