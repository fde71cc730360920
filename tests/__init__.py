"""The tests. A package only so that they can share helpers (`from tests.x import y`)."""
