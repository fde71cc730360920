"""The program that :class:`~mpzmq.testing.ContainerProcess` starts: it serves, and ends with its parent.

``python -m mpzmq.testing.process_main SPEC ENDPOINT FOLDER DRAIN_TIMEOUT`` writes the real endpoint, and nothing
else, to its standard output.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback

from ..container.loading import LoadError, load_server

__all__: list[str] = []


def end_with_parent() -> None:
    """The parent holds the other end of standard input: when it ends, however it ends, so does this process."""
    # Not through sys.stdin: a daemon thread that holds its lock aborts the interpreter when it ends.
    while os.read(0, 1):
        pass
    os._exit(9)


def main(spec: str, endpoint: str, folder: str, drain_timeout: str) -> None:
    """Serves until a signal, or the end of the parent, comes."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    # Whatever the container prints belongs to what it says, and must not be taken for the endpoint.
    parent = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]

    def announce(real: str) -> None:
        with parent:
            parent.write(f"{real}\n")

    try:
        server = load_server(spec, folder)
    except LoadError as error:
        if error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        sys.exit(str(error))
    server.run(endpoint, drain_timeout=float(drain_timeout), on_bound=announce)


if __name__ == "__main__":
    main(*sys.argv[1:])
