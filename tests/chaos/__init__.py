"""Real processes, real sockets, real faults: what both sides wrote down is compared with what is promised."""
