"""Capitals by country.

    python3 gazetteer.py COUNTRY    its capital
    python3 gazetteer.py            fails while one is missing
"""

import csv
import sys
from pathlib import Path


def capitals():
    """Country -> capital, as the file beside this one says."""
    with Path(__file__).with_name("capitals.csv").open(encoding="utf-8") as file:
        return {row["country"]: row["capital"] for row in csv.DictReader(file)}


if __name__ == "__main__":
    known = capitals()
    if sys.argv[1:]:
        print(known[sys.argv[1]])
    else:
        missing = [country for country, capital in known.items() if not capital or capital == "?"]
        sys.exit(f"missing: {', '.join(missing)}" if missing else 0)
