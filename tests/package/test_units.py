"""The units under a systemd of their own, as PID 1 in namespaces: they start confined, are restarted
with their sockets open, and the machine's unused lighttpd makes room. Skipped where the kernel gives
no cgroups to mount.
"""
import os
import re
import subprocess
import time

import pytest

from test_package import ALICE, DEBS, ENV, MIRROR, PASSWORD, SUITE, deb_of, newer_deb

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

PYTHON = "/usr/bin/python3"
# An IMAP session that stays while its server is replaced, and others that come all the time.
SESSION = f"""
import sys
sys.path.insert(0, {os.path.dirname(os.path.abspath(__file__))!r})
from test_package import ALICE, Callers, imaplib, insecure
session = imaplib.IMAP4_SSL("127.0.0.1", 993, ssl_context=insecure(), timeout=60)
session.login(ALICE, sys.argv[1])
session.select("INBOX")
with Callers() as callers:
    print("selected", flush=True)
    sys.stdin.readline()
print(session.noop()[0], callers.greeted, callers.failed)
"""
SERVICES = ["authd", "keyd", "smtpd", "imapd", "pop3d", "web-server", "acme", "maint"]
BOOT = r"""
root=$0
ip link set lo up
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount --rbind /dev "$root/dev"
for folder in run tmp sys/fs/cgroup; do mount -t tmpfs tmpfs "$root/$folder"; done
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    umount "$root/sys/fs/cgroup"
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup" || exit 77
else
    mkdir "$root/sys/fs/cgroup/systemd" "$root/sys/fs/cgroup/unified"
    mount -t cgroup -o none,name=systemd cgroup "$root/sys/fs/cgroup/systemd" || exit 77
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup/unified" || exit 77
fi
hostname mail.example.test
cd "$root"
pivot_root . mnt
umount -l /mnt
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd \
    --show-status=0 --log-target=null
"""


class Booted:
    def __init__(self, folder):
        self.folder = folder
        self.log = open(f"{folder}.boot", "ab")
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--net", "--uts", "--ipc",
             "--cgroup", "bash", "-c", BOOT, folder],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        self.pid = None

    def find_init(self):
        """PID of systemd, once the shell before it has become it."""
        path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        try:
            pid = int(open(path, encoding="ascii").read().split()[0])
            name = open(f"/proc/{pid}/comm", encoding="ascii").read().strip()
        except (FileNotFoundError, IndexError):
            return False
        self.pid = pid if name == "systemd" else None
        return self.pid is not None

    def run(self, *words, secret=None):
        return subprocess.run(["nsenter", "-t", str(self.pid), "-a", "env", "-i",
                               *[f"{k}={v}" for k, v in ENV.items()], *words],
                              input=(secret + "\n").encode() if secret else b"", check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)

    def text(self, *words, secret=None):
        done = self.run(*words, secret=secret)
        print("$", *words, "\n", done.stdout.decode(errors="replace"))
        return done.stdout.decode(errors="replace")

    def wait_for(self, what, seconds=120):
        end = time.monotonic() + seconds
        while not what():
            if self.process.poll() == 77:
                pytest.skip("no cgroups to mount")
            assert time.monotonic() < end
            time.sleep(0.1)

    def journal(self):
        return self.text("journalctl", "--no-pager", "-b", "-o", "cat", "-u", "mailstead*")

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.log.close()


@pytest.fixture(scope="module")
def booted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("systemd") / "root"
    needs = subprocess.run(["dpkg-deb", "-f", deb_of(DEBS), "Depends"], stdout=subprocess.PIPE,
                           check=True, text=True).stdout
    names = {re.split(r"[ |]", d.strip())[0] for d in needs.split(",")} | {"systemd-sysv"}
    subprocess.run(["mmdebstrap", "--quiet", "--variant=apt", "--include=" + ",".join(names),
                    SUITE, str(folder), MIRROR], check=True, timeout=900)
    subprocess.run(["cp", deb_of(DEBS), folder / "var/tmp/mailstead.deb"], check=True)
    made = Booted(str(folder))
    try:
        made.wait_for(made.find_init)
        made.wait_for(lambda: made.text("systemctl", "is-system-running").strip()
                      in ("running", "degraded"))
        yield made
    finally:
        made.stop()
        subprocess.run(["rm", "-rf", "--one-file-system", str(folder)], check=False)


@pytest.fixture(scope="module")
def installed(booted):
    assert booted.text("systemctl", "is-active", "lighttpd").strip() == "active"
    booted.said = booted.text("dpkg", "-i", "/var/tmp/mailstead.deb")
    return booted


def main_pid(machine, service):
    return int(machine.text("systemctl", "show", "-P", "MainPID",
                            f"mailstead-{service}.service"))


def test_installing_starts_everything_and_prints_the_code(installed):
    for service in SERVICES:
        assert installed.text("systemctl", "is-active",
                              f"mailstead-{service}").strip() == "active", installed.journal()
    assert re.search(r"setup code: ([0-9a-f]{4}-){7}[0-9a-f]{4}", installed.said)
    assert re.search(r"certificate: SHA-256 [0-9a-f]{64}", installed.said)
    assert installed.text("systemctl", "is-enabled", "mailstead.target").strip() == "enabled"


def test_the_unused_lighttpd_made_room(installed):
    assert "lighttpd.service" in installed.said
    assert installed.text("systemctl", "is-active", "lighttpd").strip() == "inactive"
    assert installed.text("systemctl", "is-enabled", "lighttpd").strip() == "disabled"


def test_units_are_well_formed(installed):
    units = [f"/lib/systemd/system/mailstead-{s}.service" for s in SERVICES]
    said = installed.text("systemd-analyze", "verify", "--man=no",
                          "/lib/systemd/system/mailstead.target", *units)
    assert "mailstead" not in said


def test_sandboxes_are_on(installed):
    """What systemd forbids must not take away what the programs need to confine themselves."""
    lines = [line for line in installed.journal().splitlines() if "event=sandbox" in line]
    assert len(lines) >= 6
    assert all("seccomp=on landlock-version=" in line or "not in this kernel" in line
               for line in lines), lines
    assert all("not in this kernel" not in line for line in lines) or \
        not os.path.exists("/sys/kernel/security/landlock")


def test_mail_flows(installed):
    installed.text("mailsteadctl", "domain", "add", "example.test")
    installed.text("mailsteadctl", "account", "add", ALICE, "--password-stdin", secret=PASSWORD)
    done = installed.run("sendmail", "-i", ALICE, secret="Subject: from a unit\n\ntext")
    assert done.returncode == 0, done.stdout
    assert "error" not in installed.text("mailsteadctl", "--json", "queue", "list")
    installed.wait_for(lambda: "event=delivered" in installed.journal())


def test_a_killed_monitor_comes_back_and_its_port_never_closed(installed):
    before = main_pid(installed, "imapd")
    installed.run("systemctl", "kill", "--signal=KILL", "--kill-who=main", "mailstead-imapd")
    # The port is kept by systemd: the connection waits for the new monitor instead of failing.
    probe = ("import socket; s = socket.create_connection(('127.0.0.1', 143), 60); "
             "print(s.makefile().readline())")
    here = subprocess.run(["nsenter", "-t", str(installed.pid), "-n", "python3", "-c", probe],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                          timeout=120)
    assert here.stdout.startswith("* OK"), here.stdout + installed.journal()
    installed.wait_for(lambda: main_pid(installed, "imapd") not in (0, before))


def test_upgrade_refuses_nobody_and_ends_no_session(installed, tmp_path):
    """What the package does when a newer one is installed over it."""
    newer = newer_deb(tmp_path)
    subprocess.run(["cp", newer, f"{installed.folder}/var/tmp/newer.deb"], check=True)
    before = {s: main_pid(installed, s) for s in SERVICES}
    session = subprocess.Popen(
        ["nsenter", "-t", str(installed.pid), "-n", PYTHON, "-c", SESSION, PASSWORD],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert session.stdout.readline() == "selected\n"
    said = installed.text("dpkg", "-i", "/var/tmp/newer.deb")
    assert "the new programs take over" in said, said
    for service in ("authd", "keyd"):
        installed.wait_for(lambda s=service: main_pid(installed, s) not in (0, before[s]))
    for service in ("smtpd", "imapd", "pop3d", "web-server"):
        assert main_pid(installed, service) == before[service], "it executed the new one itself"
    out = session.communicate("\n", timeout=120)[0]
    assert re.fullmatch(r"OK [1-9]\d* \[\]\n", out), out + installed.journal()
    for service in SERVICES:
        assert installed.text("systemctl", "is-active", f"mailstead-{service}").strip() == "active"


def test_the_backup_unit(installed):
    installed.text("mailsteadctl", "set", "backup.folder", "/var/backups/mailstead")
    assert installed.text("systemctl", "is-active", "mailstead-backup.timer").strip() == "active"
    assert installed.run("systemctl", "start", "mailstead-backup").returncode == 0, \
        installed.journal()
    assert len(os.listdir(f"{installed.folder}/var/backups/mailstead/generations")) == 1


def test_restart_of_the_target_restarts_all(installed):
    before = {s: main_pid(installed, s) for s in SERVICES}
    assert installed.run("systemctl", "restart", "mailstead.target").returncode == 0
    for service in SERVICES:
        installed.wait_for(lambda s=service: main_pid(installed, s) not in (0, before[s]))


def test_stop_stops_all(installed):
    assert installed.run("systemctl", "stop", "mailstead.target").returncode == 0
    for service in SERVICES:
        installed.wait_for(lambda s=service: installed.text("systemctl", "is-active",
                                                            f"mailstead-{s}").strip() == "inactive")
    assert "level=error" not in installed.journal()


def test_purge_leaves_nothing_running(installed):
    installed.text("systemctl", "start", "mailstead.target")
    said = installed.text("dpkg", "--purge", "mailstead")
    assert "/var/lib/mailstead" in said
    assert "mailstead" not in installed.text("systemctl", "list-units", "--no-legend",
                                             "mailstead*")
    assert not os.path.exists(f"{installed.folder}/var/lib/mailstead")
