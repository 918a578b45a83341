"""mailsteadctl check: beside a running instance, and over a store that was damaged."""
import json
import os
import random
import shutil

import pytest

from appliance import Appliance
from imap_account import ImapAccount, fill


@pytest.fixture(scope="module")
def server():
    with Appliance(settings={"store.inline_max": "1K"}) as running:
        account = ImapAccount(running)
        session = account.open()
        fill(session, "INBOX", 120)
        session.append("INBOX", b"Subject: large\r\n\r\n" + bytes(
            random.Random(1).choices(b"abcdefghijklmnopqrstuvwxyz \n", k=30000)), "")
        session.ok("SELECT INBOX")
        session.ok("COPY 1:50 Archive")
        session.ok("STORE 10:20 +FLAGS (\\Deleted)")
        session.ok("EXPUNGE")
        account.close()
        yield running


def test_a_running_store_is_all_well(server):
    answer = server.ctl("check", "--bodies")
    assert answer["ok"] and "all well" in answer["text"]
    assert "160 messages" in answer["text"], answer
    assert "all well" in server.ctl("check", "--repair")["text"]


def test_usage(server):
    done = server.run_ctl("check", "something")
    assert done.returncode == 1 and b"usage: check" in done.stdout


@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_database_is_an_answer_not_a_crash(server, seed, tmp_path):
    """Bits flipped all over, or the end cut off: always a line that says so, or all well."""
    state = tmp_path / "state"
    shutil.copytree(f"{server.state}/store", state / "store")
    conf = tmp_path / "mailstead.conf"
    with open(server.conf, encoding="utf-8") as old:
        conf.write_text(old.read().replace(server.state, str(state)), encoding="utf-8")
    data = state / "store" / "env" / "data.mdb"
    rnd = random.Random(seed)
    size = os.path.getsize(data)
    with open(data, "r+b") as f:
        if seed % 4 == 0:
            f.truncate(rnd.randrange(1, size))
        else:
            for _ in range(4 ** (seed % 4)):
                at = rnd.randrange(8192, size)
                f.seek(at)
                byte = f.read(1)[0]
                f.seek(at)
                f.write(bytes([byte ^ (1 << rnd.randrange(8))]))
    broken = Appliance.__new__(Appliance)
    broken.conf = str(conf)
    done = broken.run_ctl("check", "--bodies")
    assert done.returncode in (0, 1), (done.returncode, done.stderr)
    assert done.stdout, done.stderr
    last = json.loads(done.stdout.decode().strip().split("\n")[-1])
    assert last.get("ok") or last["text"]
    if seed % 4 == 0:
        assert done.returncode == 1
