"""How a job grows with hosts, tasks and partitions: a simulation with measured costs."""
