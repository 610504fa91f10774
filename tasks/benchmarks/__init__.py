"""Public benchmarks, fetched from the hub or read from a folder, as files of questions."""
