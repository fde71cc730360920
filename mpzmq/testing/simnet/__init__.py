"""A simulated network on a virtual clock."""
