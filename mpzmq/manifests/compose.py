"""A service for Docker Compose."""

from __future__ import annotations

from .workload import MADE_BY, USER, Workload, check_folder, check_image, quoted

__all__ = ["compose"]


def compose(workload: Workload, image: str | None = None, *, keys: str | None = None) -> str:
    """What ``docker compose up`` takes.

    Args:
        workload: what runs.
        image: in which it is, with mpzmq; None: it is built from the Dockerfile beside the file.
        keys: a folder with ``container.key`` and the folder ``allowed``, as seen from the file; None: whoever reaches
            the network may call everything.

    Raises:
        ValueError: the image or the folder has a name that it cannot have.
    """
    name = quoted(workload.name)
    source = "build: ." if image is None else f"image: {quoted(check_image(image))}"
    if keys is None:
        open_to = """\
      # Without keys, whoever reaches its networks may call every function. No port of it is published.
      - "--insecure"
"""
        mounts = secrets = ""
    else:
        folder = check_folder(keys)
        open_to = """\
      - "--keys=/run/secrets/container.key"
      - "--allow=/etc/mpzmq/allowed"
"""
        mounts = f"""\
    secrets:
      - container.key
    volumes:
      # A folder, so that who is added gets in within a second, and who is taken away is cut off.
      - type: bind
        source: {quoted(f"{folder}/allowed")}
        target: /etc/mpzmq/allowed
        read_only: true
"""
        secrets = f"""\
secrets:
  # Compose mounts it as it is: let the user above own it (chown {USER}, chmod 400).
  container.key:
    file: {quoted(f"{folder}/container.key")}
"""
    return f"""\
{MADE_BY}
# Engines of this project pass dns://{workload.name}:{workload.port} to worker.group(): the name of a service has the
# addresses of all its containers, and is followed.
services:
  {name}:
    {source}
    entrypoint: ["mpzmq", "serve", {quoted(workload.server)}]
    command:
      - "--bind=tcp://0.0.0.0:{workload.port}"
{open_to}\
      # For the healthcheck, which runs inside: nobody else reaches it.
      - "--admin=127.0.0.1:{workload.admin_port}"
      - "--drain-timeout={workload.drain_timeout:g}"
    expose: ["{workload.port}"]
    deploy:
      replicas: {workload.replicas}
      resources:
        limits:
          memory: {workload.memory}M
    restart: unless-stopped
    # {workload.stop_reason[0].upper()}{workload.stop_reason[1:]}.
    stop_grace_period: {workload.stop_seconds}s
    # Nobody ends a container that is not healthy: others wait for it (depends_on, condition: service_healthy).
    healthcheck:
      test:
        - CMD
        - python
        - -c
        - import urllib.request; urllib.request.urlopen("http://127.0.0.1:{workload.admin_port}/readyz", timeout=5)
      interval: 5s
      timeout: 8s
      retries: 6
      start_period: 5m
    user: "{USER}:{USER}"
    read_only: true
    tmpfs: ["/tmp"]
    cap_drop: ["ALL"]
    security_opt: ["no-new-privileges:true"]
{mounts}{secrets}"""
