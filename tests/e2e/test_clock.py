"""A machine without a battery: it begins years in the past, and then the time comes from the network;
and one whose clock is put back."""
import imaplib
import os
import smtplib
import struct
import tempfile
import time

import pytest

from appliance import PASSWORD, Appliance, tls_context

ALICE = "alice@example.test"
YEARS = 6 * 365 * 86400


@pytest.fixture
def clock():
    handle, path = tempfile.mkstemp(prefix="mailstead-clock-")
    os.write(handle, struct.pack("=q", -YEARS))
    os.close(handle)
    os.chmod(path, 0o644)  # the programs only look
    yield path
    os.unlink(path)


def deliver(box, subject):
    with smtplib.SMTP("127.0.0.1", box.ports["smtp"], timeout=60) as client:
        client.sendmail("stranger@elsewhere.test", [ALICE],
                        f"From: <stranger@elsewhere.test>\r\nSubject: {subject}\r\n\r\ntext\r\n")


def login(box):
    session = imaplib.IMAP4_SSL("127.0.0.1", box.ports["imaps"], ssl_context=tls_context(),
                                timeout=60)
    session.login(ALICE, PASSWORD)
    session.select("INBOX")
    return session


def messages(session):
    session.noop()
    found = session.search(None, "ALL")[1][0].split()
    return [int(n) for n in found]


def set_clock(path, seconds):
    with open(path, "r+b") as file:
        file.write(struct.pack("=q", seconds))


def test_years_forward_and_a_day_back(clock):
    with Appliance(env={"MAILSTEAD_CLOCK": clock}) as box:
        deliver(box, "in the past")
        before = login(box)
        box.wait_for(lambda: messages(before) == [1])
        assert before.response("UIDVALIDITY")[1] is not None
        date = before.fetch("1", "(INTERNALDATE)")[1][0].decode()
        assert str(time.gmtime(time.time() - YEARS).tm_year) in date
        processes = box.pids()

        for moved in (0, -86400):
            set_clock(clock, moved)
            deliver(box, f"clock moved by {moved}")
            count = 2 if moved == 0 else 3
            box.wait_for(lambda n=count: messages(before) == list(range(1, n + 1)))
            with login(box) as after:
                assert messages(after) == list(range(1, count + 1))
                date = after.fetch(str(count), "(INTERNALDATE)")[1][0].decode()
                assert str(time.gmtime(time.time() + moved).tm_year) in date
                # New mailboxes never get a number that an old one had.
                after.create(f"made{count}")
            assert box.ctl("account", "list")
        before.logout()
        assert box.pids() == processes, "nobody was started again"
        # What was made in the past had run out.
        box.wait_for(lambda: [r for r in box.ctl("cert", "list")
                              if r["id"] == "default" and r["days-left"] > 300])
        box.stop()
        box.start()
        with login(box) as session:
            assert messages(session) == [1, 2, 3]
        assert '"error"' not in box.run_ctl("check").stdout.decode()
