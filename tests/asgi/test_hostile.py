"""Whatever a client sends, it is answered with a status that tells what is wrong, and leaves nothing behind."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

from mpzmq.asgi import gateway
from mpzmq.testing import connected
from tests.asgi.visit import JSON, LINES, ask
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.asgi.conftest import Served

BODIES = [b'[1,{"a":[1,2]},"x"]', b'{"value":{"$b64":"aGk="}}', b"[]\n1\n2\n3", b'["!"]\n"a"\n', b'[{"$map":[[1,2]]}]']
ODD = b'{}[]",:\n\r\\u0x\xff $1'
ACCEPTED = ["*/*", "text/event-stream", "application/x-ndjson", "application/json", "", ";q=", "a/b;q=x, */*;q=0.1"]
HEADERS = {
    "mpzmq-timeout": ["1", "1e-9", "1e9", "inf", "-1", "1_0"],
    "idempotency-key": ["6ba7b810-9dad-41d1-80b4-00c04fd430c8", "{6ba7b8109dad41d180b400c04fd430c8}", '"', '""'],
}


async def test_requests_that_are_almost_right(served: Served) -> None:
    chance = random.Random(1)
    async with connected(served.server) as container:
        app = gateway(container, allow=["*"])
        seen = set()
        for _ in range(600):
            body = bytearray(chance.choice(BODIES))
            for _ in range(chance.randint(0, 3)):
                at = chance.randrange(len(body))
                body[at : at + chance.randint(0, 1)] = bytes(chance.choices(ODD, k=chance.randint(0, 1)))
            headers = chance.choice([JSON, LINES]) | {"accept": chance.choice(ACCEPTED)}
            for name, values in HEADERS.items():
                if chance.random() < 0.1:
                    headers[name] = chance.choice(values)
            name = chance.choice(["echo", "total", "talk", "count", "add", "none"])

            answer = await ask(app, f"/call/{name}", bytes(body), headers)

            seen.add(int(answer.status))
            assert answer.status in (200, 400, 404, 406, 422, 502, 504), answer.body
            if answer.headers["content-type"] == "application/json":
                assert list(json.loads(answer.body)) == (["result"] if answer.status == 200 else ["error", "executed"])
            else:
                assert answer.body.endswith((b"\n\n", b"}\n"))
        assert seen >= {200, 400, 404, 406, 422}
        await until(lambda: not served.running and served.server.statistics().in_flight == 0)
