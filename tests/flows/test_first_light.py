"""The whole story runs: labels, two stages of learning, a comparison, champions; and a second time does nothing."""

from __future__ import annotations


def test_runs(first_light_home):
    home, lines, counter = first_light_home
    print(lines)
    print((home / "reports" / "comparison.md").read_text())
