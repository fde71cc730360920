"""How much may leave, in which order, and in which pieces."""
