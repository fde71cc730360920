"""A host without processes, on which a supervisor's decisions are carried out; time is what the test says."""

from __future__ import annotations

from mpzmq.fleets.supervisor import Kill, Over, Restarts, Start, Supervisor, Tell, Terminate

CODE = {"terminated": 0, "killed": -9}


class Host:
    """Keeps the books of what was started, and of what was told to whom."""

    def __init__(self, replicas: int, ports: list[int] | None = None, restarts: Restarts | None = None) -> None:
        self.supervisor = Supervisor(replicas, ports, restarts)
        self.now = 0.0
        self.ports: dict[int, int] = {}  # of the processes that run, by key
        self.slots: dict[int, int] = {}
        self.terminated: set[int] = set()
        self.killed: set[int] = set()
        self.told: list[str] = []
        self.started = 0
        self.code: int | None = None

    def take(self) -> list[object]:
        """Carries out what was decided, and returns it."""
        taken: list[object] = []
        while self.supervisor.effects:
            effect = self.supervisor.effects.popleft()
            taken.append(effect)
            match effect:
                case Start(process):
                    assert process.port == 0 or process.port not in self.ports.values(), "two processes at one port"
                    self.ports[process.key], self.slots[process.key] = process.port, process.slot
                    self.started += 1
                case Terminate(key):
                    assert key in self.ports
                    self.terminated.add(key)
                case Kill(key):
                    assert key in self.ports
                    self.killed.add(key)
                case Tell(text, slot):
                    self.told.append(text if slot is None else f"{slot}: {text}")
                case Over(code):
                    assert self.code is None and not self.ports
                    self.code = code
        return taken

    def start(self) -> None:
        self.supervisor.start(self.now)
        self.take()

    def reload(self) -> None:
        self.supervisor.reload(self.now)
        self.take()

    def scale(self, replicas: int) -> None:
        self.supervisor.scale(replicas, self.now)
        self.take()

    def stop(self) -> None:
        self.supervisor.stop(self.now)
        self.take()

    def load(self, key: int) -> None:
        self.supervisor.on_loaded(key, self.now)
        self.take()

    def serve(self, key: int) -> None:
        self.supervisor.on_serving(key, f"tcp://127.0.0.1:{10_000 + key}", self.now)
        self.take()

    def end(self, key: int, code: int) -> None:
        del self.ports[key]
        del self.slots[key]
        self.supervisor.on_ended(key, code, self.now)
        self.take()

    def wait(self, seconds: float) -> None:
        """Time passes, and each deadline in it is heeded when it comes."""
        until = self.now + seconds
        while (deadline := self.supervisor.deadline()) is not None and deadline <= until:
            assert deadline >= self.now or not self.ports, "a deadline that was not heeded"
            self.now = max(self.now, deadline)
            self.supervisor.on_time(self.now)
            self.take()
        self.now = until

    def run(self, *keys: int) -> None:
        """These processes, or all that run, do what they are told: they serve, and they end."""
        for key in keys or [*self.ports]:
            if key in self.ports and key in self.killed:
                self.end(key, CODE["killed"])
            elif key in self.ports and key in self.terminated:
                self.end(key, CODE["terminated"])
            elif key in self.ports:
                self.serve(key)

    def settle(self) -> None:
        """Everything goes well from now on, until nothing is to be done any more."""
        for _ in range(1000):
            before = self.started, set(self.ports), self.supervisor.endpoints()
            self.run()
            if before != (self.started, set(self.ports), self.supervisor.endpoints()):
                continue
            deadline = self.supervisor.deadline()
            if deadline is None:
                return
            self.wait(max(0.0, deadline - self.now))
        raise AssertionError("it does not settle")
