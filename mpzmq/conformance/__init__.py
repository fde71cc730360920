"""A judge of other implementations: does a container, or an engine, keep to docs/protocol.md?

It shares the numbers of the wire and the sockets with the rest of the library, and nothing else: what it judges by is
written a second time here, from the page.
"""
