"""Keys as a kubelet mounts them: links to a folder that is replaced, files of root's that the pod's group may read."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from mpzmq import AuthenticationFailed, ComputerEngineWorker, LinkState, Security, keys
from mpzmq.manifests import Workload, kubernetes
from tests.support import ROOT
from tests.support.commands import environment
from tests.support.waiting import scaled, soon, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

USER = 10001
ENGINE, STRANGER, CONTAINER = (keys.generate() for _ in range(3))


@pytest.fixture
def pod() -> Iterator[Path]:
    """A folder that others than root may enter, which tmp_path is not."""
    folder = Path(tempfile.mkdtemp(prefix="pod-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def mount(folder: Path, version: str, files: Mapping[str, str], mode: int) -> None:
    """What a kubelet does, also when there is a new version of the files: one link is replaced."""
    behind = folder / f"..{version}"
    behind.mkdir(parents=True)
    for name, text in files.items():
        (behind / name).write_text(text)
        (behind / name).chmod(mode)
        os.chown(behind / name, 0, USER)
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    (folder / "..tmp").symlink_to(behind.name)
    (folder / "..tmp").replace(folder / "..data")
    for link in folder.iterdir():
        if not link.exists():
            link.unlink()


def public(pair: keys.KeyPair) -> str:
    return f'public-key = "{pair.public}"\n'


@pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can make files of root's, and start a process as somebody else"
)
async def test_a_pod_serves_with_keys_and_follows_its_list(pod: Path) -> None:
    text = kubernetes(Workload(server="calculator:server", name="calculator"), "calculator", keys="calculator-keys")
    spec: dict[str, Any] = next(iter(yaml.safe_load_all(text)))["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    mount(pod / "key", "1", {"container.key": f'secret-key = "{CONTAINER.secret}"\n'}, 0o440)
    mount(pod / "allowed", "1", {"engine.pub": public(ENGINE), "stranger.pub": public(STRANGER)}, 0o644)
    shutil.copy(ROOT / "examples" / "deploy" / "calculator.py", pod)
    ports = {"0.0.0.0:3010": "127.0.0.1:0", "0.0.0.0:9100": "127.0.0.1:0", "/etc/mpzmq": str(pod)}
    words = container["command"][1:] + container["args"]
    for before, after in ports.items():
        words = [word.replace(before, after) for word in words]
    security = spec["securityContext"]
    # The capability lets it read this Python, which may stand in root's home.
    somebody = [f"--reuid={security['runAsUser']}", f"--regid={security['fsGroup']}", "--clear-groups"]
    somebody += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", "--no-new-privs"]
    process = await asyncio.create_subprocess_exec(
        "setpriv", *somebody, sys.executable, "-m", "mpzmq", *words,
        cwd=pod, env=environment(HOME="/"), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        endpoint = (await soon(process.stdout.readline(), scaled(40))).decode().strip()
        assert endpoint or process.returncode is None, (await process.communicate())[1].decode()
        async with ComputerEngineWorker() as worker:
            engine, other = [
                await worker.connect(endpoint, security=Security.client(pair, CONTAINER.public))
                for pair in (ENGINE, STRANGER)
            ]
            assert await soon(engine.call("add", 1, 2)) == 3
            mount(pod / "allowed", "2", {"engine.pub": public(ENGINE)}, 0o644)  # kubectl apply
            await until(lambda: other.state is LinkState.FAILED)
            with pytest.raises(AuthenticationFailed):
                await worker.connect(endpoint, security=Security.client(STRANGER, CONTAINER.public))
            assert await soon(engine.call("add", 2, 2)) == 4
        process.terminate()
        _, log = await soon(process.communicate(), scaled(40))
        assert process.returncode == 0, log.decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
