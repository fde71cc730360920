"""``mpzmq up``, as click sees it. What it does is imported when it is called."""

from __future__ import annotations

import re

import click

from .options import Number, examples, json_option
from .serving_options import (
    access_log_option,
    allow_option,
    app_dir_option,
    drain_timeout_option,
    label_option,
    log_level_option,
    loop_option,
)

__all__ = ["up"]

_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", re.ASCII)


def _checked_ports(_: click.Context, parameter: click.Parameter, text: str | None) -> list[int] | None:
    if text is None:
        return None
    found = _PORTS.fullmatch(text.strip())
    if found is None:
        raise click.BadParameter(f"{text!r} is no range of ports: write 3010-3013.", param=parameter)
    first, last = int(found[1]), int(found[2] or found[1])
    if not 1 <= first <= last <= 65535:
        raise click.BadParameter(
            f"{text!r} is no range of ports: from 1 to 65535, the lower one first.", param=parameter
        )
    return list(range(first, last + 1))


@click.command(
    epilog=examples(
        "mpzmq up container:server -n 4 --announce /run/calc",
        "mpzmq up container:server -n 4 --ports 3010-3014 --cpus auto",
        "pkill -HUP -f 'mpzmq up'   # replaces the processes, one after the other",
    )
)
@click.argument("server", metavar="MODULE:SERVER")
@click.option(
    "-n", "--replicas", type=click.IntRange(1, 1000), metavar="N", envvar="MPZMQ_REPLICAS", show_envvar=True,
    help="How many processes; by default one for each processor that can be used.",
)  # fmt: skip
@click.option(
    "--host", default="127.0.0.1", show_default=True, envvar="MPZMQ_HOST", show_envvar=True,
    help="The address at which they serve.",
)  # fmt: skip
@click.option(
    "--ports", metavar="A-B", callback=_checked_ports, envvar="MPZMQ_PORTS", show_envvar=True,
    help="Their ports; by default whichever are free. With one more than processes, a reload starts each new one beside"
    " the old.",
)  # fmt: skip
@click.option(
    "--insecure", is_flag=True, envvar="MPZMQ_INSECURE", show_envvar=True,
    help="Allow an address that other hosts can reach, without keys.",
)  # fmt: skip
@click.option(
    "--keys", metavar="FILE", envvar="MPZMQ_KEYS", show_envvar=True,
    help="The containers' secret key: who is not on the list of --allow is refused.",
)  # fmt: skip
@allow_option()
@app_dir_option()
@click.option(
    "--announce", metavar="DIR", envvar="MPZMQ_ANNOUNCE", show_envvar=True,
    help="Each says in a file there where it serves, for groups that follow dir://DIR.",
)  # fmt: skip
@label_option("Announce a label, which group.where() chooses by; may be given several times.")
@click.option(
    "--cpus", metavar="LIST", envvar="MPZMQ_CPUS", show_envvar=True,
    help="Share out these processors among the processes: 0-3,8, or auto for all that can be used.",
)  # fmt: skip
@click.option(
    "--start-timeout", type=Number(min=0, max=86_400, min_open=True), default=60.0, show_default=True,
    envvar="MPZMQ_START_TIMEOUT", show_envvar=True, help="Seconds within which a process has to serve.",
)  # fmt: skip
@drain_timeout_option()
@click.option(
    "--max-restarts", type=click.IntRange(0, 1_000_000), default=10, show_default=True,
    envvar="MPZMQ_MAX_RESTARTS", show_envvar=True,
    help="Restarts of a process that fails again and again, until it is given up.",
)  # fmt: skip
@loop_option()
@log_level_option("What the processes log to stderr.")
@access_log_option()
@json_option("Print each endpoint as one JSON document, with the name of its process.")
def up(
    server: str,
    replicas: int | None,
    host: str,
    ports: list[int] | None,
    insecure: bool,
    keys: str | None,
    allow: str | None,
    app_dir: str,
    announce: str | None,
    labels: dict[str, str],
    cpus: str | None,
    start_timeout: float,
    drain_timeout: float,
    max_restarts: int,
    loop: str,
    log_level: str,
    access_log: bool,
    as_json: bool,
) -> int:
    """Serve MODULE:SERVER by several processes of this host, and keep them running.

    Prints each endpoint on stdout once a process serves there. A process that ends is started again, after a pause that
    becomes longer. What the processes write is on stderr, each line with the name of its process.

    SIGHUP replaces the processes, one after the other: the old one drains when the new one serves. SIGTERM or Ctrl-C
    drains all of them, a second one closes them at once. However this command ends, they end with it.

    \b
    Exit codes: 0 ended by a signal and drained, 64 wrong usage, 66 no such module or server; else that of the worst
    process, 128 and the number of the signal for one that was killed.
    """
    from ..fleets.cpus import usable_cpus, wanted_cpus
    from .up import run as run_up

    if announce is None and labels:
        raise click.UsageError("--label is announced: it needs --announce DIR.")
    count = len(usable_cpus()) if replicas is None else replicas
    if ports is not None and len(ports) < count:
        raise click.UsageError(f"{count} processes need {count} ports, and --ports has {len(ports)}.")
    try:
        shared = [] if cpus is None else wanted_cpus(cpus)
    except ValueError as error:
        raise click.UsageError(f"--cpus: {error}.") from None
    paths = (("--keys", keys), ("--allow", allow), ("--announce", announce))
    options = [word for option, value in paths if value for word in (option, value)]
    options += [word for key, value in labels.items() for word in ("--label", f"{key}={value}")]
    options += [flag for flag, given in (("--insecure", insecure), ("--access-log", access_log)) if given]
    options += ["--app-dir", app_dir, "--loop", loop, "--log-level", log_level]
    return run_up(
        server,
        count,
        host=host,
        ports=ports,
        cpus=shared,
        options=options,
        start_timeout=start_timeout,
        drain_timeout=drain_timeout,
        max_restarts=max_restarts,
        as_json=as_json,
    )
