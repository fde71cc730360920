"""Fuzzing of every door: ``python -m tests.fuzz --door gateway --minutes 10``."""

import contextlib

with contextlib.suppress(ImportError):
    # Coverage is only seen of what is imported under its eyes, and so before anything else here is.
    import atheris

    with atheris.instrument_imports(include=["mpzmq"], enable_loader_override=False):
        import mpzmq.admin.http_server
        import mpzmq.asgi
        import mpzmq.mcp
        import mpzmq.protocol.link.link
        import mpzmq.protocol.lobby.lobby
        import mpzmq.protocol.rust.client
        import mpzmq.protocol.rust.container
        import mpzmq.protocol.session.table  # noqa: F401
