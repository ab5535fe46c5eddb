"""A real Redis and a real PostgreSQL, each in a folder of its own, gone with the test."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def redis():
    """One that runs; its URL."""
    if not (program := shutil.which("redis-server")):
        pytest.skip("no redis-server")
    with tempfile.TemporaryDirectory() as folder:
        address = Path(folder) / "redis.sock"
        command = [program, "--port", "0", "--unixsocket", address, "--save", "", "--dir", folder]
        with _running(command, lambda: _accepts(address)):
            yield f"unix://{address}"


@contextmanager
def postgres():
    """One that runs; the URL of a database."""
    if not (initdb := _postgres_program("initdb")):
        pytest.skip("no PostgreSQL")
    # It refuses to run as root.
    user = next(filter(_is_user, ("postgres", "nobody")), None) if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory() as folder:
        if user:
            shutil.chown(folder, user)
        data, port = Path(folder) / "data", str(_free_port())
        made = [initdb, "--no-sync", "--auth=trust", "--username=pannier", "--encoding=UTF8", "--locale=C", data]
        subprocess.run(made, check=True, capture_output=True, user=user)
        settings = ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "shared_buffers=32MB"]
        command = [_postgres_program("postgres"), "-D", data, "-k", folder, "-p", port, *settings]
        ready = [_postgres_program("pg_isready"), "--host", "127.0.0.1", "--port", port]
        with _running(command, lambda: subprocess.run(ready, capture_output=True).returncode == 0, user):
            yield f"postgres://pannier@127.0.0.1:{port}/postgres"


@contextmanager
def _running(command, is_ready, user=None):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=user)
    try:
        deadline = time.monotonic() + 30
        while not is_ready():
            assert process.poll() is None and time.monotonic() < deadline, "it does not start"
            time.sleep(0.02)
        yield
    finally:
        # Both stop at once then, whoever is connected.
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)


def _postgres_program(name):
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = next((folder / name for folder in versions if (folder / name).exists()), None)
    return found or shutil.which(name)


def _is_user(name):
    try:
        return bool(pwd.getpwnam(name))
    except KeyError:
        return False


def _free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _accepts(address):
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(address)) == 0
