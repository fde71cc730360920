"""Keys in files: private from their first moment, and refused when they are not."""

from __future__ import annotations

import os
import pickle
import stat
import tempfile
from pathlib import Path

import pytest

from mpzmq import Security, keys


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    made = keys.generate()
    public = keys.save(made, tmp_path / "engine.key")
    assert public == tmp_path / "engine.pub" == keys.public_path(tmp_path / "engine.key")
    assert keys.load(tmp_path / "engine.key") == made
    assert keys.load_public(public) == keys.load_public(tmp_path / "engine.key") == made.public
    assert made != keys.generate()


def test_a_secret_is_for_its_owner_only_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        keys.save(keys.generate(), tmp_path / "engine.key")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "engine.key").stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644])
def test_a_secret_that_others_can_use_is_refused_with_the_fix(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "engine.key"
    keys.save(keys.generate(), path)
    path.chmod(mode)
    with pytest.raises(PermissionError, match=rf"mode 0{mode:o}.*chmod 600 {path}"):
        keys.load(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of root's and then be somebody else")
@pytest.mark.parametrize("mode", [0o440, 0o640, 0o441, 0o444, 0o460, 0o650])
def test_what_root_hands_to_a_group_is_read_by_it_and_by_nobody_else(mode: int) -> None:
    """As Kubernetes mounts a Secret for a pod with an fsGroup, and as a credential of systemd looks."""
    with tempfile.TemporaryDirectory() as folder:  # tmp_path is for root only
        os.chmod(folder, 0o755)
        path = Path(folder, "container.key")
        made = keys.generate()
        keys.save(made, path)
        os.chown(path, 0, 65534)
        path.chmod(mode)
        with pytest.raises(PermissionError, match="others than its owner"):
            keys.load(path)  # root needs no group
        os.setegid(65534)
        os.seteuid(65534)
        try:
            if mode in (0o440, 0o640):
                assert keys.load(path) == made
            else:
                with pytest.raises(PermissionError, match=rf"mode 0{mode:o}"):
                    keys.load(path)
        finally:
            os.seteuid(0)
            os.setegid(0)


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    made = keys.generate()
    keys.save(made, tmp_path / "engine.key")
    with pytest.raises(FileExistsError, match="not overwritten"):
        keys.save(keys.generate(), tmp_path / "engine.key")
    (tmp_path / "engine.pub").unlink()
    with pytest.raises(FileExistsError, match="not overwritten"):
        keys.save(keys.generate(), tmp_path / "engine.key")
    assert keys.load(tmp_path / "engine.key") == made


def test_a_file_without_keys_says_so(tmp_path: Path) -> None:
    path = tmp_path / "engine.key"
    made, other = keys.generate(), keys.generate()
    for text, reason in (
        ("{", "no keys of mpzmq"),
        ("", "no secret key"),
        (f'public-key = "{made.public}"', "a public one only"),
        ('secret-key = "short"', "no keys of mpzmq"),
        ("secret-key = 3", "no keys of mpzmq"),
        (f'secret-key = "{made.secret}"\npublic-key = "{other.public}"', "not a pair"),
    ):
        path.write_text(text)
        path.chmod(0o600)
        with pytest.raises(ValueError, match=reason):
            keys.load(path)
    path.write_text('public-key = "x"')
    with pytest.raises(ValueError, match="no public key"):
        keys.load_public(path)
    with pytest.raises(FileNotFoundError):
        keys.load(tmp_path / "nowhere.key")


def test_a_secret_is_not_shown() -> None:
    made = keys.generate()
    both = Security.client(made, keys.generate().public), Security.server(made, allow=[made.public])
    for shown in (repr(made), str(made), repr(both[0]), repr(both[1])):
        assert made.secret not in shown and made.public in shown


def test_fingerprints() -> None:
    """Source: the SHA-256 of the 32 bytes; the key is the public key of ZeroMQ's RFC 32 in its own notation."""
    key = keys.z85(bytes(range(32)))
    assert keys.fingerprint(key) == "SHA256:Yw3NKWbEM2aRElRIu7JbT/QS"[: len(keys.fingerprint(key))]
    assert keys.fingerprint(keys.generate().public) != keys.fingerprint(keys.generate().public)


@pytest.mark.parametrize("value", [b"x" * 40, 3, None])
def test_a_key_is_text(value: object) -> None:
    with pytest.raises(TypeError, match="server_key"):
        Security.client(keys.generate(), value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["", "x" * 39, "x" * 41, "x" * 39 + "~", "x" * 39 + '"', "é" * 40])
def test_a_key_has_its_form(value: str) -> None:
    with pytest.raises(ValueError, match="40 characters"):
        Security.client(keys.generate(), value)


def test_a_security_is_a_value() -> None:
    made, server = keys.generate(), keys.generate().public
    one = Security.client(made, server)
    assert one == Security.client(made, [server]) == pickle.loads(pickle.dumps(one))
    with pytest.raises(AttributeError):
        one.keys = made  # type: ignore[misc]
    with pytest.raises(ValueError, match="empty"):
        Security.client(made, [])
    with pytest.raises(TypeError, match=r"mpzmq\.keys\.load"):
        Security.client("engine.key", server)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"Security\.server"):
        Security(keys=made)
