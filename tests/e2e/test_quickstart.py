"""make quickstart: proves the whole way of a message, can be run again, says what is in its way."""
import imaplib
import json
import os
import pathlib
import random
import signal
import socket
import stat
import subprocess
import sys
import tempfile

import pytest

from appliance import BIN, ROOT, tls_context

PORTS = {"smtp": 25, "submissions": 465, "submission": 587, "submission-alt": 2525, "imap": 143,
         "imaps": 993, "pop3": 110, "pop3s": 995, "http": 80, "https": 443}


def free_base():
    """A PORT_BASE whose ports are all free, outside the range that the kernel hands out."""
    while True:
        base = random.randrange(1000, 29000, 7)
        held = []
        try:
            for port in PORTS.values():
                held.append(socket.socket())
                held[-1].bind(("127.0.0.1", base + port))
            return base
        except OSError:
            continue
        finally:
            for s in held:
                s.close()


def command(folder, base, *options):
    return [sys.executable, f"{ROOT}/packaging/quickstart.py", "--dir", str(folder),
            "--port-base", str(base), "--bin", BIN, *options]


def quickstart(folder, base, *options):
    done = subprocess.run(command(folder, base, "--oneshot", *options), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False, timeout=240)
    print(done.stdout, done.stderr)
    return done


@pytest.fixture
def short_path():
    """Sockets have short names; pytest's own folders are too deep when it runs in parallel."""
    with tempfile.TemporaryDirectory(prefix="mailstead-") as folder:
        yield pathlib.Path(folder)


@pytest.fixture(scope="module")
def made():
    """A folder that quickstart made and proved, its port base and what it printed."""
    with tempfile.TemporaryDirectory(prefix="mailstead-") as above:
        yield from make(pathlib.Path(above) / "run")


def make(folder):
    base = free_base()
    done = quickstart(folder, base)
    assert done.returncode == 0
    yield folder, base, done.stdout


def credentials(folder):
    return json.loads((folder / "credentials.json").read_text())


def test_says_what_was_proven(made):
    _, base, text = made
    for what in (f"SMTP, port {base + 25}", f"submission, port {base + 587}",
                 f"IMAP, port {base + 143}", f"POP3, port {base + 995}",
                 f"web admin, port {base + 443}"):
        assert f"  proven: {what}" in text


def test_credentials_are_private_and_complete(made):
    folder, base, text = made
    assert stat.S_IMODE(os.stat(folder / "credentials.json").st_mode) == 0o600
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    told = credentials(folder)
    assert told["ports"] == {name: base + port for name, port in PORTS.items()}
    assert told["admin"]["url"] == f"https://localhost:{base + 443}/"
    passwords = {a["address"]: a["password"] for a in told["accounts"]}
    assert set(passwords) == {"alice@example.test", "admin@example.test"}
    assert len(set(passwords.values())) == 2 and all(len(p) >= 16 for p in passwords.values())
    assert passwords["alice@example.test"] in text


def test_nothing_is_left_running(made):
    _, base, _ = made
    for port in PORTS.values():
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", base + port), timeout=5)


def test_stays_and_stops_on_a_signal_with_old_mail_and_passwords(made):
    folder, base, _ = made
    before = credentials(folder)
    for signo in (signal.SIGTERM, signal.SIGINT):
        with subprocess.Popen(command(folder, base), stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True) as process:
            lines = []
            for line in process.stdout:
                lines.append(line)
                if "Ctrl-C stops it" in line:
                    break
            assert process.poll() is None, lines
            assert credentials(folder) == before
            session = imaplib.IMAP4_SSL("127.0.0.1", base + 993, ssl_context=tls_context())
            session.login("alice@example.test", before["accounts"][-1]["password"])
            assert int(session.select("INBOX", readonly=True)[1][0]) >= 4
            session.logout()
            process.send_signal(signo)
            assert process.wait(90) == 0, process.stdout.read()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", base + 993), timeout=5)


def test_other_ports_in_the_same_folder_and_lost_credentials(made):
    folder, _, _ = made
    (folder / "credentials.json").unlink()
    base = free_base()
    done = quickstart(folder, base)
    assert done.returncode == 0, done.stderr
    assert credentials(folder)["ports"]["imap"] == base + 143


def test_busy_port_is_named_and_nothing_starts(short_path):
    base = free_base()
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", base + 587))
        holder.listen()
        done = quickstart(short_path / "run", base)
    assert done.returncode == 1
    assert f"port {base + 587} (submission)" in done.stderr and "PORT_BASE=" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (short_path / "run" / "mailstead.log").exists()


def test_broken_configuration_is_shown(short_path):
    folder = short_path / "run"
    folder.mkdir()
    (folder / "mailstead.conf").write_text("log.level = loud\n")
    done = quickstart(folder, free_base())
    assert done.returncode == 1
    assert "mailstead.conf:4" in done.stderr and "log.level" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_too_deep_is_refused(tmp_path):
    done = quickstart(tmp_path / ("x" * 80), free_base())
    assert done.returncode == 1 and "DIR=/tmp/mailstead" in done.stderr
