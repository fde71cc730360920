"""The role of asking: requests from issue to end."""
