"""Monitors: who binds, who is started again, and changes that drop nobody."""
import os
import re
import shutil
import signal
import socket
import subprocess

import pytest

from appliance import BIN, Appliance, free_ports

GREETINGS = {"smtp": b"220 ", "imap": b"* OK", "pop3": b"+OK "}


@pytest.fixture(scope="module")
def running():
    with Appliance(settings={"process.silence_max": "1"}) as appliance:
        yield appliance


def greeting(appliance, listener):
    with appliance.connect(listener) as sock:
        return sock.recv(4)


def new_pid(appliance, program, old):
    def look():
        pid = appliance.pids().get(program)
        return pid if pid and pid != old else None
    return appliance.wait_for(look)


def is_open(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("program", ["smtpd", "imapd", "pop3d"])
def test_monitors_link_no_openssl(program):
    needed = subprocess.run(["readelf", "-d", f"{BIN}/{program}"], stdout=subprocess.PIPE,
                            check=True, text=True).stdout
    assert "libc.so" in needed
    assert "ssl" not in needed and "crypto" not in needed


def test_a_role_that_is_killed_comes_back_and_no_connection_is_refused(running):
    for program, listener in (("smtpd-receive", "smtp"), ("pop3d-worker", "pop3")):
        old = running.kill(program)
        # The monitor holds the socket: who comes now waits for the new process.
        assert greeting(running, listener) == GREETINGS[listener]
        assert new_pid(running, program, old)


def test_a_role_that_does_not_answer_is_started_again(running):
    old = running.pids()["pop3d-worker"]
    os.kill(old, signal.SIGSTOP)
    assert new_pid(running, "pop3d-worker", old)
    assert greeting(running, "pop3") == GREETINGS["pop3"]
    assert "event=program-silent program=pop3d-worker" in running.log_text()


def test_a_monitor_that_is_killed_comes_back_with_its_roles(running):
    before = running.pids()
    running.kill("smtpd")
    for program in ("smtpd", "smtpd-receive", "smtpd-local"):
        new_pid(running, program, before[program])
    running.wait_for(lambda: is_open(running.ports["smtp"]))
    assert greeting(running, "smtp") == GREETINGS["smtp"]


def test_listeners_come_move_and_go_and_sessions_stay(running):
    one, two = free_ports(2)
    running.listeners = {"extra": {"role": "pop3", "tls": "none", "login_without_tls": "yes"}}
    running.ports["extra"] = one
    running.write_conf()
    running.ctl("reload")
    with running.connect("extra") as session:
        lines = session.makefile("rwb", buffering=0)
        assert lines.readline().startswith(b"+OK")
        running.ports["extra"] = two
        running.write_conf()
        running.ctl("reload")
        assert not is_open(one) and is_open(two)
        lines.write(b"CAPA\r\n")
        assert lines.readline().startswith(b"+OK")
        while lines.readline() != b".\r\n":
            pass
        running.listeners, _ = {}, running.ports.pop("extra")
        running.write_conf()
        running.ctl("reload")
        assert not is_open(two)
        lines.write(b"QUIT\r\n")
        assert lines.readline().startswith(b"+OK")


@pytest.mark.parametrize("what,expected", [
    ("port", "in use"), ("certificate", "missing"), ("range", "65536")])
def test_a_change_that_cannot_be_changes_nothing_and_says_why(running, what, expected):
    pids, ports = running.pids(), dict(running.ports)
    good, taken = free_ports(1)[0], socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    running.ports["pop3"] = good
    running.listeners = {"smtp": {"hostname": "other.example.test"}}
    if what == "port":
        running.ports["smtp"] = taken.getsockname()[1]
    elif what == "range":
        running.ports["smtp"] = 65536
    else:
        running.listeners["smtp"]["certificate"] = "missing"
    running.write_conf()
    answer = running.run_ctl("reload").stdout.decode()
    running.listeners, running.ports = {}, ports
    running.write_conf()
    taken.close()
    # Not even in the processes that had nothing against it. (Somebody else may be on the port.)
    rows = {r["listener"]: r for r in running.ctl("status") if "listener" in r}
    assert rows["pop3"]["port"] == ports["pop3"] != good and is_open(ports["pop3"])
    assert greeting(appliance=running, listener="imap")
    assert "smtp" in answer and expected in answer
    assert greeting(running, "smtp") == GREETINGS["smtp"]
    with running.connect("smtp") as sock:
        assert b"mail.example.test" in sock.recv(1000)
    assert running.pids() == pids
    running.ctl("reload")
    assert greeting(running, "pop3") == GREETINGS["pop3"]


def test_a_port_that_is_taken_ends_the_start_and_is_named():
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    one = Appliance()
    try:
        one.pick_ports()
        one.ports["imaps"] = taken.getsockname()[1]
        one.write_conf()
        with pytest.raises(RuntimeError) as why:
            one.start()
        assert re.search(rf"imapd: {one.conf}:\d+: listener.imaps.port: bind 127.0.0.1:",
                         str(why.value))
        assert "in use" in str(why.value)
    finally:
        taken.close()
        one.process.stdout.close()
        one.process = None
        one.__exit__(None, None, None)


class Manager:
    """What a service manager does: it listens to NOTIFY_SOCKET and keeps sockets."""

    def __init__(self, folder):
        self.path = f"{folder}/notify"
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(self.path)
        self.sock.settimeout(30)
        self.kept = {}
        self.said = []

    def wait_for(self, line):
        while line not in self.said:
            text, fds, _, _ = socket.recv_fds(self.sock, 4096, 4)
            values = dict(v.split("=", 1) for v in text.decode().split("\n"))
            self.said += text.decode().split("\n")
            if values.get("FDSTORE") == "1":
                assert len(fds) == 1
                self.kept[values["FDNAME"]] = fds[0]
            elif values.get("FDSTOREREMOVE") == "1":
                os.close(self.kept.pop(values["FDNAME"]))
        self.said.clear()

    def start(self, appliance, program):
        """With the sockets it kept, from descriptor 3 on."""
        high = {name: os.dup2(fd, 100 + i) for i, (name, fd) in enumerate(self.kept.items())}
        numbers = " ".join(f"{3 + i}<&{fd}" for i, fd in enumerate(high.values()))
        script = f'LISTEN_PID=$$ exec "$0" -c "$1" {numbers}'
        env = {**os.environ, "NOTIFY_SOCKET": self.path, "MAILSTEAD_ALLOW_ROOT": "1",
               "LISTEN_FDS": str(len(high)), "LISTEN_FDNAMES": ":".join(high)}
        with open(appliance.log, "ab") as log:
            process = subprocess.Popen(
                ["bash", "-c", script, f"{BIN}/{program}", appliance.conf], env=env, stderr=log,
                stdin=subprocess.DEVNULL, pass_fds=list(high.values()))
        for fd in high.values():
            os.close(fd)
        return process


def test_a_service_manager_is_told_and_keeps_the_sockets(make_appliance):
    """A monitor under systemd: it dies, and whoever connects meanwhile waits for the next one."""
    appliance = make_appliance()
    port = free_ports(1)[0]
    conf = open(appliance.conf, encoding="utf-8").read()
    appliance.conf = f"{appliance.folder}/etc/second.conf"
    with open(appliance.conf, "w", encoding="utf-8") as second:
        for line in conf.splitlines():
            if not line.startswith("listener.pop3"):
                second.write(line + "\n")
        second.write("listener.pop3s.enabled = no\nlistener.pop3.address = 127.0.0.1\n"
                     f"listener.pop3.port = {port}\n")
    appliance.ports["pop3"] = port
    os.kill(appliance.pids()["pop3d"], signal.SIGSTOP)  # ours takes its place
    manager = Manager(appliance.folder)
    process = manager.start(appliance, "pop3d")
    try:
        manager.wait_for("READY=1")
        assert list(manager.kept) == [f"port-{port}-7f000001"]
        assert greeting(appliance, "pop3") == GREETINGS["pop3"]
        process.kill()
        process.wait(30)
        with appliance.connect("pop3") as waiting:
            process = manager.start(appliance, "pop3d")
            assert waiting.recv(4) == GREETINGS["pop3"]
        manager.wait_for("READY=1")
        # A port that goes away is not kept.
        with open(appliance.conf, "a", encoding="utf-8") as second:
            second.write("listener.pop3.enabled = no\n")
        process.send_signal(signal.SIGHUP)
        manager.wait_for("FDSTOREREMOVE=1")
        assert not manager.kept
        process.terminate()
        manager.wait_for("STOPPING=1")
        assert process.wait(40) == 0
    finally:
        process.kill()
        os.kill(appliance.pids()["pop3d"], signal.SIGCONT)


def test_a_certificate_that_is_missing_stops_the_start_with_the_line_that_names_it():
    broken = Appliance(listeners={"imap": {"certificate": "missing"}}, accounts=())
    broken.pick_ports()
    with pytest.raises(RuntimeError):
        broken.start()
    with open(broken.conf, encoding="utf-8") as conf:
        line = next(n for n, text in enumerate(conf, 1) if "missing" in text)
    said = broken.log_text()
    broken.process.stdout.close()
    assert f"{broken.conf}:{line}: listener.imap.certificate: found" in said, said
    shutil.rmtree(broken.folder)
