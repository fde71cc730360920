"""Who is let in at a lobby, and when they have left."""
