"""Measures mpzmq beside its peers: ``python -m bench compare``. docs/performance.md says how to read it."""
