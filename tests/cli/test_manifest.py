"""`mpzmq manifest`, as users run it. What it prints is judged in tests/manifests/."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import called, run

if TYPE_CHECKING:
    from pathlib import Path

IMAGE = ("--image", "calculator:1")


def test_it_is_printed() -> None:
    done = run("manifest", "shop.price_list:server", "--kubernetes", *IMAGE, "--replicas", "7", "--stateful")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith('app.kubernetes.io/name: "price-list"\n')
    assert "kind: StatefulSet" in done.stdout
    assert "replicas: 7" in done.stdout


@pytest.mark.parametrize(
    ("options", "file"),
    [
        (["--kubernetes", *IMAGE], "calculator.yaml"),
        (["--compose"], "compose.yaml"),
        (["--systemd"], "calculator.service"),
        (["--systemd", "--replicas", "2"], "calculator@.service"),
        (["--slurm", "--name", "adder"], "adder.sbatch"),
    ],
)
def test_it_is_written_and_never_over_another(tmp_path: Path, options: list[str], file: str) -> None:
    words = ["manifest", "calculator:server", *options]
    done = called(*words, "--output", str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{tmp_path / file}\n", "")
    assert (tmp_path / file).read_text("utf-8") == called(*words).stdout
    (tmp_path / file).write_text("mine")
    done = called(*words, "--output", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith(f"{tmp_path / file} is there already, and may have been changed: move it away\n")
    assert (tmp_path / file).read_text() == "mine"


def test_a_folder_that_there_is_not(tmp_path: Path) -> None:
    done = called("manifest", "a:b", "--compose", "--output", str(tmp_path / "none"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"mpzmq manifest: cannot write {tmp_path}/none/compose.yaml: No such file or directory\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="tmpfs")
def test_a_full_disk_leaves_no_half_a_file(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=4,size=4k", "tmpfs", str(tmp_path)], check=True)
    try:
        (tmp_path / "other").write_bytes(bytes(4096))
        done = called("manifest", "a:b", "--compose", "--output", str(tmp_path))
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"mpzmq manifest: cannot write {tmp_path}/compose.yaml: No space left on device\n"
        assert os.listdir(tmp_path) == ["other"]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("", "give one of"),
        ("--compose --slurm", "give one of"),
        ("--kubernetes", "needs --image"),
        ("--kubernetes --image A", "is not an image"),
        ("--kubernetes --image a --keys A", "is not the name of a Secret"),
        ("--kubernetes --image a --app-dir /x", "--app-dir is for --systemd and --slurm"),
        ("--systemd --image a", "--image is for --kubernetes and --compose"),
        ("--compose --stateful", "--stateful is for --kubernetes"),
        ("--compose --announce /x", "--announce is for --slurm"),
        ("--compose --cpus 1", "--cpus is for --kubernetes and --slurm"),
        ("--slurm --port 0", "--port is for --kubernetes and --compose and --systemd"),
        ("--compose --name A", "is not a name of DNS"),
        ("--compose --port 80", "1024 to 65535"),
        ("--systemd --keys keys", "begins with /"),
        ("--systemd --app-dir /a%b", "cannot be written down"),
        ("--systemd --app-dir /a/../b", "has a part '..'"),
        ("--systemd --keys /a/..", "has a part '..'"),
        ("--systemd --replicas 2 --port 65535", "would end at 65536"),
        ("--compose --replicas 0", "range"),
    ],
)
def test_wrong_usage(options: str, reason: str) -> None:
    done = called("manifest", "calculator:server", *options.split())
    assert (done.returncode, done.stdout) == (64, "")
    assert reason in done.stderr
