"""Import this first: with it a benchmark can import the modules of tests/studies and tests/shared by their names."""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path += [str(TESTS / "studies"), str(TESTS / "shared")]
