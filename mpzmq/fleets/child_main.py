"""The program of a container that was started by another program: it serves, and ends with its parent.

``python -m mpzmq.fleets.child_main SPEC ENDPOINT FOLDER DRAIN_TIMEOUT``
"""

from __future__ import annotations

import sys
import traceback

from .lifeline import Lifeline

__all__: list[str] = []


def main(spec: str, endpoint: str, folder: str, drain_timeout: str) -> None:
    """Serves until a signal, or the end of the parent, comes."""
    lifeline = Lifeline()
    # Not before: importing takes its time, in which the parent may end.
    from ..container.loading import LoadError, load_server

    try:
        server = load_server(spec, folder)
    except LoadError as error:
        if error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        sys.exit(str(error))
    lifeline.loaded()
    server.run(endpoint, drain_timeout=float(drain_timeout), on_bound=lifeline.serving)


if __name__ == "__main__":
    main(*sys.argv[1:])
