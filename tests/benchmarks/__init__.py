"""Speed and memory beside the reference libraries: `python -m tests.benchmarks`."""
