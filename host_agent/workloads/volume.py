"""A renter's disk: a file with a file system in it, so its size is a limit that nothing can pass.

A new volume is a new file: what was not written yet reads as zeros, never as what another tenant
wrote. Destroying it is one unlink. Runs as root; every step may be repeated.
"""

import contextlib
import os
import subprocess
from pathlib import Path

from host_agent.durable import sync_directory

IMAGE, MOUNT = "image.ext4", "mount"
_MIB = 1024 * 1024


class Volumes:
    """``root`` holds a directory per volume."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def attach(self, volume_id: str, size_mib: int, owner: int) -> Path:
        """Return where the volume is mounted on the host, creating it for user number ``owner`` if need be.

        Raises:
            OSError: the disk is full, or the volume cannot be mounted.
        """
        directory = self._root / volume_id
        mount = directory / MOUNT
        mount.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._root.chmod(0o700)
        if not (directory / IMAGE).exists():
            _create(directory / IMAGE, size_mib)
            sync_directory(self._root)
        if not mount.is_mount():
            _run("mount", "-t", "ext4", "-o", "loop,nodev,nosuid", str(directory / IMAGE), str(mount))
            os.chown(mount, owner, owner)
            with contextlib.suppress(FileNotFoundError):
                (mount / "lost+found").rmdir()
        return mount

    def detach(self, volume_id: str) -> None:
        """Unmount it and keep what it holds. Raises OSError: something still uses it."""
        mount = self._root / volume_id / MOUNT
        if mount.is_mount():
            _run("umount", str(mount))

    def destroy(self, volume_id: str) -> None:
        """Raises OSError: something is left."""
        self.detach(volume_id)
        directory = self._root / volume_id
        if directory.exists():
            # The first to go is what the renter wrote.
            (directory / IMAGE).unlink(missing_ok=True)
            for aside in directory.glob(".*.new"):
                aside.unlink()
            (directory / MOUNT).rmdir()
            directory.rmdir()
            sync_directory(self._root)


def _create(image: Path, size_mib: int) -> None:
    """Build the file system aside, so that a crash leaves no half of one under the name."""
    aside = image.with_name(f".{image.name}.new")
    with aside.open("wb") as file:
        os.fchmod(file.fileno(), 0o600)
        # Reserved now: a host that runs out of disk later would break a volume that was sold.
        os.posix_fallocate(file.fileno(), 0, size_mib * _MIB)
    # No blocks for root and none for growing: the renter gets what was asked for.
    _run("mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(aside))
    descriptor = os.open(aside, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    aside.replace(image)
    sync_directory(image.parent)


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=600)
    except subprocess.TimeoutExpired as error:
        raise OSError(f"{command[0]} does not end") from error
    if done.returncode != 0:
        raise OSError(f"{command[0]}: {done.stderr.decode('utf-8', 'replace').strip()}")
