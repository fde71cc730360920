"""The container that is tested."""

from mpzmq import ContainerServer

server = ContainerServer(name="calculator")


@server.function
def add(a: int, b: int) -> int:
    return a + b
