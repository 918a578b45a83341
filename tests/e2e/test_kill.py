"""Processes that are killed and disks that are full while mail flows: nothing that was acknowledged
is missing, nothing is delivered twice. The ledger is kept out here, by the clients."""
import glob
import os
import poplib
import subprocess
import threading

import pytest
from appliance import Appliance
from flow import (GONE, Senders, check_ledger, number_at, numbers_of, pop,
                  wait_until_delivered)

ALICE, BOB = "alice@example.test", "bob@example.test"
ROUNDS = 4
EACH = 40


@pytest.mark.parametrize("program", ["authd", "smtpd-receive", "smtpd-local"])
def test_killed_while_mail_flows(make_appliance, program):
    a = make_appliance()
    to = [ALICE, BOB]
    with Senders(a, to) as senders:
        for _ in range(ROUNDS):
            senders.wait_for(EACH)
            old = a.kill(program)
            a.wait_for(lambda: a.pids().get(program, old) != old)
        senders.wait_for(EACH)
    wait_until_delivered(a)
    for address in to:
        check_ledger(senders.accepted[address], numbers_of(a, address))


def test_everything_killed_at_once(make_appliance):
    a = make_appliance()
    with Senders(a, [ALICE]) as senders:
        for _ in range(ROUNDS):
            senders.wait_for(EACH)
            a.kill_all()
            a.start()
        senders.wait_for(EACH)
    wait_until_delivered(a)
    check_ledger(senders.accepted[ALICE], numbers_of(a, ALICE))


def test_large_messages_killed(make_appliance):
    """Bodies in files of their own: none lost, none left over."""
    a = make_appliance(settings={"store.inline_max": "1K"})
    with Senders(a, [ALICE], size=30000) as senders:
        for program in ("smtpd-receive", "smtpd-local"):
            senders.wait_for(EACH)
            old = a.kill(program)
            a.wait_for(lambda: a.pids().get(program, old) != old)
        senders.wait_for(EACH)
    wait_until_delivered(a)
    check_ledger(senders.accepted[ALICE], numbers_of(a, ALICE))


class Popper(threading.Thread):
    """Deletes by POP3 what it finds and writes down what it was told."""

    def __init__(self, appliance, address):
        super().__init__()
        self.appliance, self.address = appliance, address
        self.deleted, self.unsure = set(), set()
        self.is_over = threading.Event()

    def run(self):
        while not self.is_over.is_set():
            numbers = set()
            try:
                session = pop(self.appliance, self.address)
                for i in range(1, min(session.stat()[0], 10) + 1):
                    numbers.add(number_at(session, i))
                    session.dele(i)
                session.quit()
            except GONE:
                self.unsure |= numbers
                self.is_over.wait(0.02)
                continue
            again = numbers & self.deleted
            assert not again, f"deleted, acknowledged, and there again: {again}"
            self.deleted |= numbers


def test_pop3_killed_while_it_deletes(make_appliance):
    a = make_appliance()
    popper = Popper(a, ALICE)
    with Senders(a, [ALICE], count=2) as senders:
        popper.start()
        try:
            for _ in range(ROUNDS):
                goal = len(popper.deleted) + 20
                a.wait_for(lambda: len(popper.deleted) >= goal or not popper.is_alive())
                old = a.kill("pop3d-worker")
                a.wait_for(lambda: a.pids().get("pop3d-worker", old) != old)
        finally:
            popper.is_over.set()
            popper.join(60)
    wait_until_delivered(a)
    left = numbers_of(a, ALICE)
    check_ledger(senders.accepted[ALICE] - popper.deleted - popper.unsure, left)
    assert not set(left) & popper.deleted, "deleted, and there again"


# --- full disks -----------------------------------------------------------------------------------
@pytest.fixture
def small_disk():
    """make(size, settings): an appliance whose state lies on a file system of its own."""
    made = []

    def make(size, settings=None):
        if os.geteuid() != 0:
            pytest.skip("mounting a small file system needs root")
        a = Appliance(settings={"queue.space_min": "0", **(settings or {})})
        os.mkdir(a.state)
        mount = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", a.state],
                               capture_output=True, check=False)
        if mount.returncode != 0:
            pytest.skip(f"no tmpfs can be mounted: {mount.stderr.decode()}")
        made.append(a)
        return a.__enter__()

    yield make
    for a in made:
        try:
            a.stop()
        finally:
            subprocess.run(["umount", "-l", a.state], check=False)
        a.__exit__(None, None, None)


def fill(a):
    """Takes what is left of the disk; the path of what does so."""
    path = f"{a.state}/ballast"
    with open(path, "wb", buffering=0) as ballast:
        try:
            while True:
                ballast.write(b"\0" * 4096)
        except OSError:
            pass
    return path


def refusals(a, senders, count):
    """Waits for more refusals and says with which codes."""
    with senders.lock:
        senders.refused.clear()
    a.wait_for(lambda: len(senders.refused) >= count)
    with senders.lock:
        return set(senders.refused.values())


def test_full_disk(small_disk):
    a = small_disk("32M")
    with Senders(a, [ALICE], count=2) as senders:
        senders.wait_for(EACH)
        a.wait_for(lambda: numbers_of(a, ALICE))
        # Somebody has the maildrop open while the disk fills up.
        session = pop(a, ALICE)
        first = number_at(session, 1)
        session.dele(1)
        before = a.pids()
        ballast = fill(a)
        assert refusals(a, senders, 20) == {452}
        # Whether there is a page left for it or not: the answer is the truth.
        try:
            session.quit()
            gone = {first}
        except poplib.error_proto as refused:
            assert b"-ERR [SYS/TEMP]" in refused.args[0]
            gone = set()
        # Reading goes on, and nobody has died of it.
        left = numbers_of(a, ALICE)
        assert left and (first not in left) == bool(gone)
        assert a.pids() == before
        os.unlink(ballast)
        senders.wait_for(EACH)
    wait_until_delivered(a)
    check_ledger(senders.accepted[ALICE] - gone, numbers_of(a, ALICE))


def test_body_that_is_gone(make_appliance):
    """What the disk lost is an error of that message, and of nothing else."""
    a = make_appliance(settings={"store.inline_max": "0"})
    with Senders(a, [ALICE], count=1) as senders:
        senders.wait_for(2)
    wait_until_delivered(a)
    bodies = sorted(glob.glob(f"{a.state}/store/blob/*/*"), key=os.path.getmtime)
    os.unlink(bodies[0])
    session = pop(a, ALICE)
    answers = []
    for i in range(1, session.stat()[0] + 1):
        try:
            session.retr(i)
            answers.append("ok")
        except poplib.error_proto as refused:
            answers.append(refused.args[0].decode())
    session.quit()
    assert answers.count("ok") == len(answers) - 1
    assert "-ERR [SYS/TEMP] The message cannot be read" in answers


def test_low_on_space(small_disk):
    """Below queue.space_min mail is refused at MAIL, before it is sent; then taken again."""
    a = small_disk("40M", {"queue.space_min": "6M", "smtp.message_size_max": "1M"})
    with Senders(a, [ALICE], count=1) as senders:
        senders.wait_for(5)
        ballast = fill(a)
        assert refusals(a, senders, 5) == {452}
        os.unlink(ballast)
        senders.wait_for(5)
    wait_until_delivered(a)
    check_ledger(senders.accepted[ALICE], numbers_of(a, ALICE))


def test_full_queue_map(make_appliance):
    """The queue's map is full: 452, and room again once something is taken out of it."""
    a = make_appliance(settings={"queue.map_size": "4M"})
    a.ctl("account", "quota", ALICE, "1")
    with Senders(a, [ALICE, BOB], count=2, size=40000) as senders:
        assert refusals(a, senders, 10) == {452}

    def waiting():
        return [row for row in a.ctl("queue", "list") if row["recipient"] == ALICE]

    a.wait_for(lambda: all(row["tries"] > 0 for row in waiting()))
    assert len(waiting()) > 10
    a.ctl("account", "quota", ALICE, "none")
    for row in waiting():
        a.ctl("queue", "retry", row["id"])
    wait_until_delivered(a)
    with Senders(a, [ALICE], count=1, first=senders.next) as more:
        more.wait_for(5)
    wait_until_delivered(a)
    check_ledger(senders.accepted[ALICE] | more.accepted[ALICE], numbers_of(a, ALICE))
    check_ledger(senders.accepted[BOB], numbers_of(a, BOB))
