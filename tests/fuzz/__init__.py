"""Fuzzing of the decode door: ``python -m tests.fuzz --minutes 10``."""

import contextlib

with contextlib.suppress(ImportError):
    # Coverage is only seen of what is imported under its eyes, and so before anything else here is.
    import atheris

    with atheris.instrument_imports(include=["mpzmq"], enable_loader_override=False):
        import mpzmq.protocol.link.link
        import mpzmq.protocol.session.table  # noqa: F401
