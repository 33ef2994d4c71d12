"""What a coordinator is made of: each file one decision, taken from the fold and the log's clock alone."""
