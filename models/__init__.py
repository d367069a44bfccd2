"""Models: where probabilities come from."""
