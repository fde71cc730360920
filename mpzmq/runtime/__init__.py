"""What both sides need of the event loop."""
