"""Type=notify: each program that a unit starts says when it serves."""
import os
import socket
import subprocess

import pytest

from appliance import BIN, Appliance

ENV = {**os.environ, "MAILSTEAD_ALLOW_ROOT": "1", "ASAN_OPTIONS": "detect_leaks=0"}


@pytest.fixture(scope="module")
def stopped():
    """The folder of an appliance that ran once."""
    with Appliance(settings={"process.uid_base": "0"}) as appliance:
        appliance.stop()
        yield appliance


def start(stopped, program, address):
    log = open(stopped.log, "ab")
    words = ["-c", stopped.conf] + (["run"] if program == "mailsteadctl" else [])
    try:
        return subprocess.Popen([f"{BIN}/{program}", *words], stdin=subprocess.DEVNULL, stdout=log,
                                stderr=log, env={**ENV, "NOTIFY_SOCKET": address})
    finally:
        log.close()


@pytest.mark.parametrize("program", ["authd", "keyd", "mailsteadctl"])
def test_ready_and_stopping_are_said(stopped, program):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(60)
        name = f"{stopped.folder}/notify-{program}"
        manager.bind(name)
        process = start(stopped, program, name)
        try:
            assert manager.recv(4096) == b"READY=1", stopped.log_text()
        finally:
            process.terminate()
            assert process.wait(90) == 0, stopped.log_text()
        assert manager.recv(4096) == b"STOPPING=1"
