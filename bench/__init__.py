"""What the engine is measured with and against."""
