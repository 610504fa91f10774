"""Rows of public benchmarks as questions of ours; where the benchmarks are, data/catalog.yaml says."""
