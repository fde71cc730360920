"""Bytes between two sides. The only package that imports zmq."""
