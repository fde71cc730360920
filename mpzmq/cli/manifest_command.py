"""``mpzmq manifest``, as click sees it. What it does is imported when it is called."""

from __future__ import annotations

from typing import Any

import click

from .options import Number, examples

__all__ = ["manifest"]

# What only some kinds know; all other options are for every kind.
ONLY_FOR = {
    "image": ("kubernetes", "compose"),
    "stateful": ("kubernetes",),
    "port": ("kubernetes", "compose", "systemd"),
    "admin_port": ("kubernetes", "compose", "systemd"),
    "cpus": ("kubernetes", "slurm"),
    "app_dir": ("systemd", "slurm"),
    "announce": ("slurm",),
}


@click.command(
    epilog=examples(
        "mpzmq manifest calculator:server --kubernetes --image registry.example/calculator:1 | kubectl apply -f -",
        "mpzmq manifest calculator:server --compose --keys keys --output .",
        "mpzmq manifest calculator:server --systemd --app-dir /opt/calculator",
        "mpzmq manifest calculator:server --slurm --replicas 64 > calculator.sbatch",
    )
)
@click.argument("server", metavar="MODULE:SERVER")
@click.option("--kubernetes", is_flag=True, help="A Deployment, its headless Service and its disruption budget.")
@click.option("--compose", is_flag=True, help="A service for Docker Compose.")
@click.option("--systemd", is_flag=True, help="A unit; with --replicas a template, whose instances are ports.")
@click.option("--slurm", is_flag=True, help="A batch script: one container for each task.")
@click.option("--name", help="Of the service, the unit or the job.  [default: that of the module]")
@click.option("--image", help="Kubernetes, Compose: what runs; by default Compose builds one.")
@click.option(
    "--replicas", type=click.IntRange(1, 10_000), metavar="N", help="How many.  [default: 3; systemd: 1]",
)  # fmt: skip
@click.option("--stateful", is_flag=True, help="Kubernetes: a StatefulSet, whose pods keep their names.")
@click.option("--port", type=int, help="Where each serves; with Slurm any that is free.  [default: 3010]")
@click.option("--admin-port", type=int, help="Where each answers to probes; not with Slurm.  [default: 9100]")
@click.option(
    "--keys", metavar="SECRET",
    help="A Secret of Kubernetes, and a ConfigMap of that name; elsewhere a folder with container.key and allowed/.",
)  # fmt: skip
@click.option(
    "--drain-timeout", type=Number(min=0, max=86_400), default=8.0, show_default=True,
    help="Seconds for running work; who kills has to wait for longer.",
)  # fmt: skip
@click.option("--cpus", type=click.IntRange(min=1), help="Kubernetes, Slurm: processors for each.  [default: 1]")
@click.option(
    "--memory", type=click.IntRange(min=1), default=512, show_default=True, metavar="MIB", help="What each may use.",
)  # fmt: skip
@click.option("--app-dir", metavar="DIR", help="systemd: the application, with its .venv; Slurm: where the module is.")
@click.option("--announce", metavar="DIR", help="Slurm: a shared folder in which each says where it serves.")
@click.option("--output", metavar="DIR", help="Write a file there, and print its name.")
def manifest(
    server: str, kubernetes: bool, compose: bool, systemd: bool, slurm: bool, output: str | None, **given: Any
) -> int:
    """Print a file with which somebody else starts containers: to be read, changed and kept.

    Give one of --kubernetes, --compose, --systemd and --slurm.

    With --keys engines have to prove who they are ("mpzmq keys --help"). A folder of keys has container.key, and in
    allowed/ the public keys of who gets in. For Kubernetes the first is a Secret and the second a ConfigMap:
    "kubectl create secret generic SECRET --from-file=container.key", and
    "kubectl create configmap SECRET --from-file=allowed".

    \b
    Exit codes: 0 here it is, 1 it cannot be written, 64 wrong usage.
    """
    chosen = {"kubernetes": kubernetes, "compose": compose, "systemd": systemd, "slurm": slurm}
    kinds = [kind for kind, is_chosen in chosen.items() if is_chosen]
    if len(kinds) != 1:
        raise click.UsageError("give one of --kubernetes, --compose, --systemd and --slurm")
    for option, fitting in ONLY_FOR.items():
        if kinds[0] not in fitting and given[option] is not None and given[option] is not False:
            names = " and ".join(f"--{name}" for name in fitting)
            raise click.UsageError(f"--{option.replace('_', '-')} is for {names}")
    if kubernetes and not given["image"]:
        raise click.UsageError("--kubernetes needs --image: what the pods run")
    from .manifest import manifest as run_manifest

    return run_manifest(kinds[0], server, output, given)
