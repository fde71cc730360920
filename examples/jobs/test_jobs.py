"""The application, and five containers in processes of their own: they are killed, held and restarted."""

import asyncio
import contextlib
import hashlib
import json
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
import web
from interface import Jobs

from mpzmq import ComputerEngineWorker, NotPermitted, testing

HOSTS = [f"127.0.0.{number}" for number in range(1, 6)]
PATIENCE = 20.0


class Visit:
    """One HTTP request to the application, whose client may leave: a few lines of ASGI, and no server."""

    def __init__(self, method, path, data=None, *, key="ada-key", chunks=(), ends=True, spec="2.3"):
        headers = [(b"authorization", f"Bearer {key}".encode()), (b"content-type", b"application/json")]
        self._scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": headers}
        self._scope["asgi"] = {"version": "3.0", "spec_version": spec}
        self._chunks, self._ends = list(chunks) or [json.dumps(data).encode()], ends
        self._gone, self._news = asyncio.Event(), asyncio.Event()
        self.status, self.body = 0, b""
        self.end = asyncio.create_task(web.app(self._scope, self._receive, self._send))

    async def _receive(self):
        if self._chunks:
            chunk = self._chunks.pop(0)
            return {"type": "http.request", "body": chunk, "more_body": bool(self._chunks) or not self._ends}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message):
        if self._gone.is_set():
            if self._scope["asgi"]["spec_version"] == "2.4":  # before, a server took it and said nothing
                raise OSError("the client has gone")
            return
        self.status = message.get("status", self.status)
        self.body += message.get("body", b"")
        self._news.set()

    async def shows(self, text):
        """Waits until the answer has it."""
        async with asyncio.timeout(PATIENCE):
            while text.encode() not in self.body:
                self._news.clear()
                await self._news.wait()

    def leave(self):
        self._gone.set()

    async def answer(self):
        async with asyncio.timeout(2 * PATIENCE):
            await self.end
        return self.status, json.loads(self.body)


async def ask(method, path, data=None, **options):
    return await Visit(method, path, data, **options).answer()


async def until(holds):
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110  (what is waited for tells nobody of it)
            await asyncio.sleep(0.005)


async def leave(*visits):
    for visit in visits:
        visit.leave()
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(visit.end for visit in visits))


def job(**fields):
    return {"id": str(uuid4()), "title": "a tree", "steps": 3, "pause": 0.005, **fields}


@pytest.fixture(scope="module")
def processes():
    """Five containers, which all serve at one port, on addresses of their own: as behind one name of the DNS."""
    with contextlib.ExitStack() as stack, ThreadPoolExecutor() as threads:

        def start(host, port):
            process = testing.ContainerProcess(
                "container:server",
                endpoint=f"tcp://{host}:{port}",
                folder=Path(__file__).parent,
                env={"JOBS_NAME": host},
            )
            stack.callback(process.stop)
            process.start()
            return process

        first = start(HOSTS[0], 0)
        port = first.endpoint.rpartition(":")[2]
        yield [first, *threads.map(start, HOSTS[1:], [port] * 4)]


@pytest.fixture
async def group(processes, monkeypatch):
    """The application runs; its containers are found by a name that only this process knows."""
    look_up = socket.getaddrinfo

    def with_jobs(host, *args, **options):
        hosts = HOSTS if host == "jobs" else [host]
        return [found for each in hosts for found in look_up(each, *args, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", with_jobs)  # which is what dns:// asks
    monkeypatch.setenv("JOBS", f"dns://jobs:{processes[0].endpoint.rpartition(':')[2]}")
    async with web.app.router.lifespan_context(web.app):
        await web.app.state.group.wait_ready(5)
        yield web.app.state.group


async def test_the_containers_offer_what_the_application_wants(group):
    await group.check(Jobs)
    status, told = await ask("GET", "/status")
    assert (status, sorted(told["members"])) == (200, sorted(member.name for member in group.members))
    assert {*told["members"].values()} == {"ALIVE"}


async def test_who_may_ask(group, processes):
    assert await ask("POST", "/jobs", job(), key="guessed") == (401, {"detail": "who are you?"})
    async with ComputerEngineWorker() as worker, worker.connect(processes[0].endpoint) as container:
        with pytest.raises(NotPermitted):
            await container.call("words", "one two")  # around the application, without its token


async def test_a_job_with_progress(group):
    wanted = job(steps=40)
    visit = Visit("POST", "/jobs", wanted, key="bob-key")
    seen = set()
    while not visit.end.done():
        seen.add((await ask("GET", "/status"))[1]["running"].get(wanted["id"]))
        await asyncio.sleep(0)
    status, result = await visit.answer()
    assert (status, result["id"], result["user"]) == (200, wanted["id"], "bob")
    assert result["done_by"] in HOSTS
    assert len(seen & {step / 40 for step in range(1, 41)}) > 2
    assert web.running == {} and web.seconds["render"] > 0.0


async def test_what_does_not_fit_does_not_run(group):
    status, told = await ask("POST", "/jobs", job(steps=0))
    assert (status, told["error"], told["executed"]) == (422, "InvalidArguments", "NO")
    assert "job.steps" in told["detail"]


async def test_a_user_asks_too_much(processes, monkeypatch):
    monkeypatch.setenv("JOBS", processes[0].endpoint)
    monkeypatch.setenv("JOBS_RATE", "0.01")
    async with web.app.router.lifespan_context(web.app):
        assert await ask("POST", "/words", ["one two"]) == (200, [2])
        status, told = await ask("POST", "/words", ["one two"])
        assert (status, told["error"], told["executed"]) == (429, "Overloaded", "NO")
        assert await ask("POST", "/words", ["one two"], key="bob-key") == (200, [2])


async def test_a_client_that_leaves_ends_its_job(group):
    logs = [Visit("GET", f"/members/{member.name}/log") for member in group.members]
    await asyncio.gather(*(log.shows("this is") for log in logs))
    visit = Visit("POST", "/jobs", job(title="an oak", steps=1000, pause=0.1))
    begun = [asyncio.create_task(log.shows("an oak: begun for ada")) for log in logs]
    await asyncio.wait(begun, return_when=asyncio.FIRST_COMPLETED)
    (at,) = [log for log, task in zip(logs, begun, strict=True) if task.done()]
    await leave(visit)
    await at.shows("an oak: nobody waits for it any more")
    for waiting in begun:
        waiting.cancel()
    await leave(*logs)


@pytest.mark.parametrize("spec", ["2.3", "2.4"])
async def test_a_client_that_leaves_ends_its_log(group, spec):
    path = f"/members/{group.members[0].name}/log"
    stays, leaves = Visit("GET", path), Visit("GET", path, spec=spec)
    await asyncio.gather(stays.shows("this is"), leaves.shows("this is"))
    leaves.leave()
    await ask("PUT", "/level/verbose")
    await ask("PUT", "/level/quiet")
    with contextlib.suppress(RuntimeError):  # how Starlette says that nobody takes an answer which has begun
        await leaves.end
    await stays.shows("a reader has left")
    await leave(stays)
    assert [member.in_flight for member in group.members] == [0] * 5


async def test_an_upload(group):
    chunks = [bytes([number]) * 50_000 for number in range(20)]
    status, stored = await Visit("PUT", "/files/map", chunks=chunks).answer()
    whole = b"".join(chunks)
    assert (status, stored) == (200, {"name": "map", "size": 1_000_000, "sha256": hashlib.sha256(whole).hexdigest()})


async def test_a_client_that_leaves_ends_its_upload(group):
    logs = [Visit("GET", f"/members/{member.name}/log") for member in group.members]
    await asyncio.gather(*(log.shows("this is") for log in logs))
    visit = Visit("PUT", "/files/half", chunks=[b"x" * 50_000], ends=False)
    await until(lambda: group.statistics().in_flight == 1)
    await leave(visit)
    told = [asyncio.create_task(log.shows("half: broken off")) for log in logs]
    done, others = await asyncio.wait(told, return_when=asyncio.FIRST_COMPLETED)
    assert len(done) == 1
    for waiting in others:
        waiting.cancel()
    await leave(*logs)


async def test_many_texts(group):
    texts = ["word " * number for number in range(200)]
    assert await ask("POST", "/words", texts) == (200, [*range(200)])
    asked = [group.handle(member.name).statistics().replied for member in group.members]
    assert sum(asked) == 200 and all(asked)


async def test_all_are_told(group):
    names = [member.name for member in group.members]
    for level, before in (("verbose", "quiet"), ("quiet", "verbose")):
        assert await ask("PUT", f"/level/{level}") == (200, {"was": dict.fromkeys(names, before), "failed": []})


async def test_one_is_killed_under_load(group, processes):
    victim = group.members[1]
    jobs = [asyncio.create_task(ask("POST", "/jobs", job(steps=20, pause=0.02))) for _ in range(20)]
    counting = asyncio.create_task(ask("POST", "/words", ["one two"] * 400))
    await until(lambda: all(member.in_flight >= 4 for member in group.members))
    processes[1].kill()

    assert await counting == (200, [2] * 400)  # may run twice: another member was asked
    answers = await asyncio.gather(*jobs)  # may not: what was at work there is lost, and nothing else
    lost = [told for status, told in answers if status != 200]
    assert 1 <= len(lost) <= 4
    assert {(told["error"], told["executed"]) for told in lost} <= {
        ("ConnectionLost", "YES"),
        ("ConnectionLost", "UNKNOWN"),
    }
    assert all(victim.name in told["detail"] for told in lost)

    status, told = await ask("PUT", "/level/quiet")
    assert (status, told["failed"], len(told["was"])) == (200, [victim.name], 4)
    await asyncio.to_thread(processes[1].start)
    await group.wait_ready(5)


async def test_one_is_held_for_maintenance(group):
    name = group.members[2].name
    await Visit("PUT", "/files/one", chunks=[b"1"]).answer()
    async with group.hold(name) as member:
        assert (await ask("GET", "/status"))[1]["members"][name] == "ALIVE, held"
        before = member.statistics().issued
        assert await ask("POST", "/words", ["one two"] * 50) == (200, [2] * 50)
        assert member.statistics().issued == before
    forgotten = [await ask("POST", f"/members/{member.name}/compact") for member in group.members]
    assert sum(count for _, count in forgotten) >= 1
    assert await ask("POST", "/members/nobody/compact") == (404, {"detail": "there is no member nobody"})


async def test_a_rolling_restart(group, processes):
    enough = False

    async def keep_asking():
        answers = Counter()
        while not enough:
            status, _ = await ask("POST", "/jobs", job(steps=5))
            answers[status] += 1
        return answers

    asking = [asyncio.create_task(keep_asking()) for _ in range(4)]
    before = [member.instance for member in group.members]
    for some in (processes[:2], processes[2:4], processes[4:]):
        await asyncio.gather(*(asyncio.to_thread(process.restart) for process in some))
        await group.wait_ready(5)
    enough = True
    answers = sum(await asyncio.gather(*asking), Counter())
    assert [*answers] == [200] and answers[200] >= 5
    assert not {*before} & {member.instance for member in group.members}
