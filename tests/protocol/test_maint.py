"""mailsteadctl check: beside a running instance, and over a store that was damaged."""
import fcntl
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import tempfile

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


@pytest.mark.parametrize("words", [
    ("check", "something"), ("check", "--repiar"), ("check", "--bodies=yes"), ("compact", "--all"),
    ("backup", "folder", "--kepe=2"), ("restore", "folder", "--forse"),
    ("import", "alice@example.org", "path", "--mailbox"),
    ("export", "alice@example.org", "path", "--"),
])
def test_usage(server, words):
    """An option that is misspelt is not one that was not given."""
    done = server.run_ctl("--", *words)
    assert done.returncode == 1 and f"usage: {words[0]}".encode() in done.stdout


def test_a_part_is_not_restored_as_everything(server, tmp_path):
    done = server.run_ctl("restore", str(tmp_path), "--mailbox=INBOX")
    assert done.returncode == 1 and b"go with an address" in done.stdout


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
    broken.conf, broken.env = str(conf), {}
    done = broken.run_ctl("check", "--bodies")
    assert done.returncode in (0, 1), (done.returncode, done.stderr)
    assert done.stdout, done.stderr
    last = json.loads(done.stdout.decode().strip().split("\n")[-1])
    assert last.get("ok") or last["text"]
    if seed % 4 == 0:
        assert done.returncode == 1


def stopped_copy(server, folder):
    """Its state as it is now, for a mailsteadctl that finds nothing running."""
    state = folder / "state"
    shutil.copytree(server.state, state, ignore=shutil.ignore_patterns("lock.mdb"))
    conf = folder / "mailstead.conf"
    with open(server.conf, encoding="utf-8") as old:
        conf.write_text(re.sub(r"(?m)^paths.run = .*$", f'paths.run = "{folder}/run"',
                               old.read().replace(server.state, str(state))), encoding="utf-8")
    for where, _, names in os.walk(server.state):
        for path in (where, *(f"{where}/{name}" for name in names if name != "lock.mdb")):
            status = os.lstat(path)
            os.chown(path.replace(server.state, str(state)), status.st_uid, status.st_gid)
    copy = Appliance.__new__(Appliance)
    copy.conf, copy.state, copy.env = str(conf), str(state), {}
    return copy


@pytest.fixture
def open_folder():
    """One that all users may enter, unlike tmp_path."""
    path = tempfile.mkdtemp(prefix="mailstead-")
    os.chmod(path, 0o711)
    yield pathlib.Path(path)
    shutil.rmtree(path)


def test_recovery_of_what_cannot_be_opened(server, open_folder):
    copy = stopped_copy(server, open_folder)
    assert "store: no damage; queue: no damage" in copy.ctl("recover")["text"]
    data = f"{copy.state}/store/env/data.mdb"
    with open(data, "r+b") as f:
        f.truncate(os.path.getsize(data) // 4096 // 3 * 4096)
        f.seek(4096)
        f.write(bytes(4096))
    assert copy.run_ctl("check").returncode == 1
    done = copy.run_ctl("recover")
    assert done.returncode == 0, done
    text = (done.stdout + done.stderr).decode()
    assert "a page is damaged" in text and "should be" in text, text
    assert os.path.exists(f"{copy.state}/store/env/data.damaged-1")
    assert os.stat(data).st_mode & 0o777 == 0o660
    assert not os.path.exists(f"{copy.state}/store/env/recovered")
    # What is there now is whole, and a second time there is nothing to do.
    assert copy.run_ctl("check", "--bodies").returncode == 0
    assert "store: no damage" in copy.ctl("recover")["text"]


# --- export and import -------------------------------------------------------------------------
ODD = [
    b"Subject: one\r\n\r\nFrom here\r\n>From there\r\n>>From\r\nFrom \r\n",
    b"Subject: two\r\n\r\n",
    b"no header at all\r\n",
    b"Subject: long\r\n\r\n" + b"x" * 70000 + b"\r\nFrom far\r\n",
    # "From " lies across the pieces in which messages are handed on.
    b"Subject: split\r\n\r\n" + b"y" * (16384 - 20) + b"\r\nFrom a piece\r\n" * 3000,
    b"Subject: bare cr\r\n\r\na\rb\r\n",
    "Subject: utf\r\n\r\nö\r\n".encode(),
]


def fill_odd(server):
    account = ImapAccount(server)
    session = account.open()
    session.ok('CREATE "Arbeit/J&APw-rgen"')
    for i, message in enumerate(ODD):
        session.append("INBOX", message, "\\Seen \\Flagged" if i % 2 else "\\Answered")
    session.append('"Arbeit/J&APw-rgen"', ODD[0], "")
    return account


def bodies(server, account, mailbox="INBOX"):
    """Bytes, flags and date of every message, in the order of the bytes."""
    session = account.open(mailbox)
    found = session.fetch("1:*", "(FLAGS INTERNALDATE BODY.PEEK[])")
    session.close()
    rows = [(m["BODY[]"], tuple(sorted(f for f in m["FLAGS"] if f != b"\\Recent")),
             m["INTERNALDATE"]) for m in found.values()]
    return sorted(rows)


@pytest.mark.parametrize("form", ["maildir", "mbox"])
def test_exported_and_imported_again_it_is_the_same(server, tmp_path, form):
    old = fill_odd(server)
    folder = tmp_path / "out"
    text = server.ctl("export", old.address, str(folder), f"--format={form}")["text"]
    assert text.startswith("8 messages exported")
    # Nothing is overwritten.
    assert server.run_ctl("export", old.address, str(folder)).returncode == 1
    new = ImapAccount(server)
    assert server.ctl("import", new.address, str(folder))["text"].startswith("8 messages imported")
    for mailbox in ("INBOX", '"Arbeit/J&APw-rgen"'):
        assert bodies(server, new, mailbox) == \
            bodies(server, old, mailbox) != []
    # Run again, it adds nothing.
    assert server.ctl("import", new.address, str(folder))["text"] == \
        "0 messages imported, 8 were there already"
    assert "all well" in server.ctl("check", "--bodies")["text"]
    old.close()
    new.close()


def test_a_folder_that_cannot_be_written_is_named(server, tmp_path):
    """Not the pipe that broke behind it."""
    address = server.ctl("account", "list")[-1]["address"]
    server.ctl("export", address, str(tmp_path / "once"))
    done = server.run_ctl("export", address, str(tmp_path / "once"))
    assert done.returncode == 1 and b"once" in done.stdout, done.stdout


def test_python_reads_what_was_exported(server, tmp_path):
    import mailbox
    account = fill_odd(server)
    server.ctl("export", account.address, str(tmp_path / "box"), "--format=mbox")
    box = mailbox.mbox(tmp_path / "box" / "INBOX.mbox")
    assert len(box) == len(ODD)
    assert [m["Subject"] for m in box][:2] == ["one", "two"]
    assert ["F" in m.get_flags() for m in box] == [bool(i % 2) for i in range(len(ODD))]
    server.ctl("export", account.address, str(tmp_path / "dir"))
    folder = mailbox.Maildir(tmp_path / "dir", create=False)
    assert len(folder) == len(ODD) and folder.list_folders()
    account.close()


def test_what_cannot_be_imported_says_so(server, tmp_path):
    account = ImapAccount(server)
    (tmp_path / "no").write_text("this is no mbox\n", encoding="ascii")
    for path, why in ((tmp_path / "no", "not an mbox"), (tmp_path / "nothing", "No such file"),
                      (tmp_path, "neither an mbox")):
        done = server.run_ctl("import", account.address, str(path))
        assert done.returncode == 1 and why.encode() in done.stdout, done.stdout
    done = server.run_ctl("import", "nobody@example.test", str(tmp_path))
    assert b"no such account" in done.stdout


# --- backup and restore ------------------------------------------------------------------------
def test_backup_and_restore_of_what_was_lost(server, tmp_path):
    account = fill_odd(server)
    session = account.open("INBOX")
    big = b"Subject: big\r\n\r\n" + bytes(random.Random(3).choices(b"abcdef\n ", k=60000)) + b"\r\n"
    session.append("INBOX", big, "\\Draft")
    before = bodies(server, account)
    folder = tmp_path / "backup"
    text = server.ctl("backup", str(folder))["text"]
    assert "all well" in text, text
    session.ok("STORE 1:* +FLAGS (\\Deleted)")
    session.ok("EXPUNGE")
    session.append("INBOX", b"Subject: new\r\n\r\nnew\r\n", "")
    assert server.ctl("restore", str(folder), account.address)["text"] == \
        "8 messages restored, 1 were there"
    after = bodies(server, account)
    assert len(after) == len(before) + 1
    assert set(before) < set(after)
    # Into another account, one mailbox, one message.
    other = ImapAccount(server)
    text = server.ctl("restore", str(folder), account.address, "--mailbox=Arbeit/Jürgen",
                      f"--to={other.address}")["text"]
    assert text == "1 messages restored, 0 were there"
    text = server.ctl("restore", str(folder), account.address, "--mailbox=INBOX", "--uid=2",
                      f"--to={other.address}")["text"]
    assert text == "1 messages restored, 0 were there"
    for words, why in ((("nobody@example.test",), "is not in this backup"),
                       ((account.address, "--mailbox=None"), "no such mailbox"),
                       ((account.address, "--generation=20200101T000000Z"), "no such generation")):
        done = server.run_ctl("restore", str(folder), *words)
        assert done.returncode == 1 and why.encode() in done.stdout, done.stdout
    done = server.run_ctl("restore", str(folder))
    assert b"stop it first" in done.stdout
    account.close()
    other.close()


def owners_below(folder):
    """Whose each folder and database is: of root's, if it started with users of their own."""
    found = {}
    for path, folders, files in os.walk(folder):
        for name in folders + [file for file in files if file == "data.mdb"]:
            status = os.stat(os.path.join(path, name))
            found[os.path.relpath(os.path.join(path, name), folder)] = \
                (status.st_uid, oct(status.st_mode))
    return found


def test_everything_comes_back(tmp_path):
    folder = tmp_path / "backup"
    with Appliance(settings={"store.inline_max": "1K"}) as first:
        account = ImapAccount(first)
        session = account.open()
        fill(session, "INBOX", 30, "\\Seen")
        before = bodies(first, account)
        account.close()
        text = first.ctl("backup", str(folder), "--bodies")["text"]
        first.stop()
        kept = first.state
        owners = owners_below(kept)
        done = first.run_ctl("restore", str(folder))
        assert done.returncode == 1 and b"--force" in done.stdout
        assert "restored from" in first.ctl("restore", str(folder), "--force")["text"]
        assert os.path.exists(kept + ".before-restore-1/store/env/data.mdb")
        now = owners_below(kept)
        assert len(now) > 5 and now == {path: owners[path] for path in now}
        # One that was cut off is not gone on with.
        with open(f"{kept}/restoring", "w", encoding="ascii"):
            pass
        with pytest.raises(RuntimeError, match="a restore was cut off"):
            first.start()
        os.unlink(f"{kept}/restoring")
        first.start()
        assert "all well" in first.ctl("check", "--bodies")["text"]
        # UIDs, UIDVALIDITY, flags and the password: as if nothing had been.
        assert bodies(first, account) == before
        first.stop()
        text = first.ctl("compact")["text"]
        assert text.startswith("store: ") and "; queue: " in text and text.count("now") == 2
        first.start()
        assert bodies(first, account) == before
        account.close()


def test_old_generations_go_and_large_bodies_are_copied_once(server, tmp_path):
    folder = tmp_path / "backup"
    made = []

    def another():
        """Two within one second have one name: the second one is refused."""
        done = server.run_ctl("backup", str(folder), "--keep=2")
        if done.returncode != 0:
            assert b"File exists" in done.stdout or b"not empty" in done.stdout, done.stdout
            return None
        return json.loads(done.stdout)["text"]

    while len(made) < 3:
        made.append(server.wait_for(another))
    seen = [text.split()[1] for text in made]
    text = made[-1]
    assert sorted(os.listdir(folder / "generations")) == sorted(x.strip(":") for x in seen)[1:]
    assert "(0 new, 0 MB)" in text
    # A body that is referred to by nobody's copy goes, the others stay.
    blobs = [p for p in (folder / "blob" / "store").rglob("*") if p.is_file()]
    assert blobs


@pytest.mark.skipif(os.geteuid() != 0, reason="a disk of its own needs root")
def test_a_backup_gives_way_before_the_disk_is_full(server, open_folder):
    """Below the floor nothing is begun, and nothing is left of what was; the one before stays."""
    disk = open_folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", str(disk)], check=True)
    try:
        folder = disk / "backup"
        assert "all well" in server.ctl("backup", str(folder))["text"]
        before = sorted(str(path) for path in folder.rglob("*"))
        with open(disk / "filler", "wb") as filler:
            filler.write(bytes(17 << 20))
        done = server.run_ctl("backup", str(folder))
        assert done.returncode == 1 and b"must be free" in done.stdout, done.stdout
        assert sorted(str(path) for path in folder.rglob("*")) == before
        os.unlink(disk / "filler")
        # There is room to begin, but not for the databases.
        free = os.statvfs(disk)
        size = os.path.getsize(f"{server.state}/store/env/data.mdb")
        with open(disk / "filler", "wb") as filler:
            filler.write(bytes(free.f_bavail * free.f_frsize - (64 << 20) - min(size // 4, 65536)))
        done = server.run_ctl("backup", str(folder))
        assert done.returncode == 1 and b"must be free" in done.stdout, done.stdout
        assert sorted(str(path) for path in folder.rglob("*")) == before
        os.unlink(disk / "filler")
        server.wait_for(lambda: server.run_ctl("backup", str(folder)).returncode == 0)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_what_a_backup_that_was_cut_off_left_goes(server, tmp_path):
    folder = tmp_path / "backup"
    server.ctl("backup", str(folder))
    left = folder / "generations" / ".20200101T000000Z"
    (left / "store").mkdir(parents=True)
    (left / "store" / "data.mdb").write_bytes(b"half")
    body = next(path for path in (folder / "blob" / "store").rglob("*") if path.is_file())
    half = body.with_name(f".{body.name}t")
    half.write_bytes(b"half")
    # Another one that is being made is not disturbed.
    generations = os.open(folder / "generations", os.O_RDONLY)
    fcntl.flock(generations, fcntl.LOCK_EX)
    done = server.run_ctl("backup", str(folder))
    assert done.returncode == 1 and b"another backup" in done.stdout, done.stdout
    assert left.exists() and half.exists()
    os.close(generations)
    server.wait_for(lambda: server.run_ctl("backup", str(folder)).returncode == 0)
    assert not left.exists() and not half.exists() and body.exists()


def test_backups_in_one_second(server, tmp_path):
    """Each has a name of its own."""
    folder = tmp_path / "backup"
    names = {re.search(r"generation (\S+):", server.ctl("backup", str(folder))["text"]).group(1)
             for _ in range(3)}
    assert len(names) == 3
    server.ctl("backup", str(folder), "--keep=2")
    found = server.ctl("backup", "list", str(folder))
    assert [g["generation"] for g in found] == sorted(os.listdir(folder / "generations"))[::-1]
    assert len(found) == 2 and found[0]["days"] == 0 and found[0]["messages"] > 0
    assert found == server.ctl("restore", str(folder), "--list")
    assert "all well" in server.ctl("backup", "verify", str(folder))["text"]
    assert server.ctl("backup", "list", str(folder))[0]["verified"] > 0
    done = server.run_ctl("backup", str(tmp_path / "no" / "disk"))
    assert done.returncode == 1 and b"is the disk mounted?" in done.stdout
