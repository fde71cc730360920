"""What every layer may use: checked durations, text of anything, threads that keep nothing, and log lines."""
