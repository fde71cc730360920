"""Whether the other side lives, and what is known of it."""
