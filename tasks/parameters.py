"""What Prefect's form says of the parameters that several flows share."""

from __future__ import annotations

POOL = "the workers: a name in data/pools or the home's pools, or the full path of a pool file"
QUESTION_SET = "graded questions: house, or the full path of a JSONL file"
PRESET = "how much is measured and learned: an entry of presets.yaml"
BACKBONE = "the small model that reads conversations: house, a folder, or a hub's name such as Qwen/Qwen3-0.6B"
LAYOUT = "which matrices get SVF offsets; empty: the preset's"
MAX_USD = "the most that this run may spend, in USD; at 0 it asks only workers without a price"
SEED = "of all random choices: the same seed gives the same result"
NAME = "a new name repeats questions that were answered before; empty: they are read from the ledger"
