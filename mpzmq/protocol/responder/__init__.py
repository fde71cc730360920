"""The role of answering: requests that came, and what was answered."""
