"""What all tests share. The guards come first: they are set up before and torn down after everything else."""

from __future__ import annotations

from tests.guards import gc_prepared, resource_guard, task_guard, task_watch

__all__ = ["gc_prepared", "resource_guard", "task_guard", "task_watch"]
