"""Keys, allow-lists, and what gets through without them."""
