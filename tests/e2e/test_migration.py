"""Databases of an older format: brought up at a start and at an upgrade, left alone if that fails, and
refused by a version that is older than they are."""
import json
import os
import subprocess

import pytest

from appliance import BIN, BUILD, PASSWORD, Appliance
from flow import Senders, check_ledger, numbers_of, wait_until_delivered
from imap import Imap
from test_upgrade import Visitor, install

NEXT = f"{BUILD}/format2"
ALICE = "alice@example.test"


@pytest.fixture(scope="module", autouse=True)
def built():
    subprocess.run(["make", "-s", f"BUILD={os.path.relpath(BUILD)}",
                    f"{os.path.relpath(BUILD)}/format2.ok"], check=True, cwd=os.getcwd())


def use(box, programs):
    box.settings["paths.libexec"] = programs
    box.write_conf()


def formats(box):
    done = box.run_ctl("migrate", "--look")
    assert done.returncode == 0, done
    return {r["database"]: (r["format"], r["known"]) for r in json.loads(done.stdout)}


def folder(box, name):
    return sorted(f for f in os.listdir(f"{box.state}/{name}/env") if f != "lock.mdb")


def cannot_start(box):
    """What it says about it."""
    with pytest.raises(RuntimeError):
        box.start()
    text = box.log_text()
    box.process = None
    return text


def session(box, address=ALICE):
    made = Imap(box.connect("imaps"))
    made.login(address, PASSWORD)
    made.ok("SELECT INBOX")
    return made


def count(box):
    made = session(box)
    found = len(made.search("ALL"))
    made.close()
    return found


@pytest.fixture
def box():
    """Stopped, with mail, in the first format."""
    with Appliance() as made:
        inbox = session(made)
        for i in range(150):
            inbox.append("INBOX", b"Subject: %d\r\n\r\nx\r\n" % i)
        inbox.close()
        made.stop()
        yield made


def test_a_start_brings_it_up(box):
    assert formats(box) == {n: (1, 1) for n in ("store", "queue", "auth")}
    use(box, NEXT)
    assert formats(box) == {"store": (1, 2), "queue": (1, 1), "auth": (1, 2)}
    box.start()
    assert "event=migrated" in box.log_text()
    assert formats(box) == {"store": (2, 2), "queue": (1, 1), "auth": (2, 2)}
    assert count(box) == 150
    assert "all well" in box.ctl("check", "--bodies")["text"]
    box.add_account("new@example.test")
    for name, expected in (("store", ["data.format-1", "data.mdb"]), ("queue", ["data.mdb"]),
                           ("auth", ["data.format-1", "data.mdb"])):
        assert folder(box, name) == expected
    # Once more there is nothing to do.
    box.stop()
    box.start()
    assert box.log_text().count("event=migrated") == 1
    assert box.ctl("migrate")["ok"]
    # The version before does not touch it, and says why.
    box.stop()
    use(box, BIN)
    text = cannot_start(box)
    assert "has format 2, of a newer version; this one knows 1" in text
    use(box, NEXT)
    box.start()
    assert count(box) == 150


@pytest.mark.parametrize("what", ["store:fail", "auth:fail", "store:kill", "auth:kill"])
def test_a_failed_one_leaves_everything_as_it_was(box, what):
    use(box, NEXT)
    box.env["MAILSTEAD_TEST_STEP"] = what
    text = cannot_start(box)
    assert "nothing was changed: the version before this one can go on with it" in text
    if what.endswith("fail"):
        assert "from format 1 to 2: a row that no version ever wrote" in text
    for name in ("store", "queue", "auth"):
        assert folder(box, name) == ["data.mdb"]
    del box.env["MAILSTEAD_TEST_STEP"]
    use(box, BIN)
    box.start()
    assert count(box) == 150
    assert "all well" in box.ctl("check")["text"]
    box.stop()
    # And another try succeeds.
    use(box, NEXT)
    box.start()
    assert count(box) == 150


def test_an_upgrade_drains_and_brings_it_up():
    """Nobody is refused, nothing is lost or doubled."""
    box = Appliance()
    libexec = f"{box.folder}/libexec"
    os.mkdir(libexec)
    os.chmod(libexec, 0o755)
    for name in os.listdir(BIN):
        os.symlink(f"{BIN}/{name}", f"{libexec}/{name}")
    box.settings["paths.libexec"] = libexec
    with box:
        old = session(box)
        monitors = {n: box.pids()[n] for n in ("smtpd", "imapd", "pop3d")}
        visitor = Visitor(box)
        visitor.start()
        with Senders(box, [ALICE]) as senders:
            senders.wait_for(50)
            for name in os.listdir(NEXT):
                install(box, name, f"{NEXT}/{name}")
            answer = box.ctl("upgrade")
            assert "have the format of this version now" in str(answer), answer
            senders.wait_for(50)
        visitor.is_over.set()
        visitor.join()
        # Who was about to log in is told to come again; nobody meets a closed door.
        assert [f for f in visitor.failures if "UNAVAILABLE" not in f] == []
        assert len(visitor.failures) <= 2 and visitor.visits > 0
        lines = [old.read_line()]
        while b"BYE" not in lines[-1]:
            lines.append(old.read_line())
        assert formats(box) == {"store": (2, 2), "queue": (1, 1), "auth": (2, 2)}
        assert {n: box.pids()[n] for n in monitors} == monitors
        wait_until_delivered(box)
        check_ledger(senders.accepted[ALICE], numbers_of(box, ALICE))
        assert "all well" in box.ctl("check", "--bodies")["text"]
