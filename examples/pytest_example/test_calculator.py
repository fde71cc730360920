"""How a container is tested: in this process, and in one of its own that is killed."""

import pytest
from calculator import server


@pytest.mark.asyncio
async def test_add(mpzmq_container, mpzmq_worker):
    served = await mpzmq_container(server)
    calculator = await mpzmq_worker.connect(served.endpoint)
    assert await calculator.call("add", 1, 2) == 3


@pytest.mark.asyncio
async def test_a_restart(mpzmq_container, mpzmq_worker):
    served = await mpzmq_container("calculator:server")
    calculator = await mpzmq_worker.connect(served.endpoint)
    before = (await calculator.describe()).instance
    served.kill()
    await served.restart()
    assert await calculator.call("add", 1, 2, idempotent=True) == 3
    assert calculator.instance != before
