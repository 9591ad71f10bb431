"""gradlab and its peers on the same work: ``uv run --group bench python -m benchmarks``."""
