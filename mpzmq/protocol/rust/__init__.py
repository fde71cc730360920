"""The wire of the Rust crate mp-executor-engine 0.1, translated to and from the messages of this protocol.

A frame is its length (u32, little-endian) and as many bytes of JSON:
``{"id": UUID, "method": "Invoke" | "Getstate" | "Setstate", "status": "RUNNING" | "STOP", "data": any JSON}``.
There is no greeting, no heartbeat, no cancellation, and no error: a reply has the id of its request, and data.
"""
