"""Files by which somebody else starts containers: Kubernetes, Compose, systemd, Slurm.

Each is a text for people to read and edit, with the reasons for its numbers in comments.
"""

from __future__ import annotations

from .compose import compose
from .kubernetes import kubernetes
from .slurm import slurm
from .systemd import systemd, unit_name
from .workload import Workload

__all__ = ["Workload", "compose", "kubernetes", "slurm", "systemd", "unit_name"]
