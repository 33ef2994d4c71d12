"""Programs that measure what no single command shows; see `bench.model.Contender` for how they tell their figures."""
