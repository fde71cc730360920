"""Several containers that do the same: which is asked, whether another one is then, and who is left out."""
