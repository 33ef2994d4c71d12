"""Jobs that only the benchmarks need."""
