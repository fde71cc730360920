"""Whole workers and containers on a simulated network, thousands of fault schedules, and the promises checked."""
