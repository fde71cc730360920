"""What is open to those who speak no ZeroMQ, whichever protocol they come in by."""
