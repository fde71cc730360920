"""A unit of systemd, or a template of one."""

from __future__ import annotations

from .workload import MADE_BY, Workload, check_folder

__all__ = ["systemd", "unit_name"]


def unit_name(workload: Workload) -> str:
    """What the file has to be called: several containers are instances of a template, each named by its port."""
    return f"{workload.name}{'@' if workload.replicas > 1 else ''}.service"


def systemd(workload: Workload, app_dir: str | None = None, *, keys: str | None = None) -> str:
    """A file for ``/etc/systemd/system``.

    Args:
        workload: what runs.
        app_dir: the folder of the application, with mpzmq in its ``.venv``; None: ``/opt/NAME``.
        keys: a folder with ``container.key`` and the folder ``allowed``; None: only this host reaches it.

    Raises:
        ValueError: a folder is not absolute, or cannot be written into a unit; or there are not so many ports.
    """
    folder = check_folder(f"/opt/{workload.name}" if app_dir is None else app_dir, absolute=True)
    several = workload.replicas > 1
    port = "%i" if several else workload.port
    words = [f"{folder}/.venv/bin/mpzmq", "serve", workload.server]
    credential = ""
    if keys is None:
        words.append(f"--bind=tcp://127.0.0.1:{port}")
    else:
        key_folder = check_folder(keys, absolute=True)
        words += [f"--bind=tcp://0.0.0.0:{port}", "--keys=${CREDENTIALS_DIRECTORY}/container.key"]
        words += [f"--allow={key_folder}/allowed"]
        credential = f"""\
# Root's: the unit gets a copy that nobody else can read. The allow-list is read where it is, again when it changes.
LoadCredential=container.key:{key_folder}/container.key
"""
    if several:
        last = workload.port + workload.replicas - 1
        if last > 65535:
            raise ValueError(
                f"{workload.replicas} instances from port {workload.port} on would end at {last}, past 65535"
            )
        how = f"""\
# Each instance is named by its port:
#   systemctl enable --now {workload.name}@{{{workload.port}..{last}}}
# An admin endpoint takes a port of its own for each: 'systemctl edit {workload.name}@{workload.port}', and there
#   [Service]
#   Environment=MPZMQ_ADMIN=127.0.0.1:{workload.admin_port}
"""
        title = f"mpzmq container {workload.name} at port %i"
    else:
        how = f"#   systemctl enable --now {workload.name}\n"
        title = f"mpzmq container {workload.name}"
        words.append(f"--admin=127.0.0.1:{workload.admin_port}")
    words.append(f"--drain-timeout={workload.drain_timeout:g}")
    return f"""\
{MADE_BY}
# It belongs into /etc/systemd/system/{unit_name(workload)}.
{how}
[Unit]
Description={title}
Wants=network-online.target
After=network-online.target
# It is started again for as long as it takes.
StartLimitIntervalSec=0

[Service]
Type=exec
WorkingDirectory={folder}
ExecStart={" ".join(words)}
Restart=always
RestartSec=2
# What another start does not mend: wrong usage, no such server, open to strangers, no such keys.
RestartPreventExitStatus=64 66 77 78
# SIGTERM begins the drain, and is for the server: a handler's own processes are its own to end. What is left is killed.
KillMode=mixed
KillSignal=SIGTERM
# {workload.stop_reason[0].upper()}{workload.stop_reason[1:]}.
TimeoutStopSec={workload.stop_seconds}
{credential}MemoryMax={workload.memory}M
# One for each connection, and for files.
LimitNOFILE=65536

# A user that is there while it runs, and may write to a /tmp of its own and nowhere else: StateDirectory= gives it a
# folder under /var/lib that stays.
DynamicUser=yes
UMask=0077
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
# A Python that lies below /home or /root is not seen, either.
ProtectHome=yes
PrivateTmp=yes
# A GPU is a device: PrivateDevices=no and DeviceAllow= let it be seen.
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RemoveIPC=yes
# Names are looked up by AF_NETLINK, too.
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""
