"""States, capabilities, and the commands about the session itself."""
import zlib

import pytest

from appliance import PASSWORD
from imap import Imap
from imap_account import MESSAGE, fill

ANYWHERE = ["CAPABILITY", "NOOP", "ID NIL"]
NOT_AUTH = ["LOGIN a b", "AUTHENTICATE X", "STARTTLS"]
LOGGED_IN = [
    "ENABLE CONDSTORE", "NAMESPACE", "IDLE", "SELECT INBOX", "EXAMINE INBOX", "CREATE x",
    "DELETE x", "RENAME x y", "SUBSCRIBE x", "UNSUBSCRIBE x", 'LIST "" *', 'LSUB "" *',
    "STATUS INBOX (MESSAGES)", "APPEND INBOX {3+}\r\nabc", "COMPRESS DEFLATE", 'GETQUOTA ""',
    "GETQUOTAROOT INBOX", 'SETQUOTA "" ()']
SELECTED = [
    "CHECK", "CLOSE", "UNSELECT", "EXPUNGE", "UID EXPUNGE 1", "FETCH 1 FLAGS", "UID FETCH 1 FLAGS",
    "STORE 1 FLAGS ()", "UID STORE 1 FLAGS ()", "COPY 1 x", "UID COPY 1 x", "MOVE 1 x",
    "UID MOVE 1 x", "SEARCH ALL", "UID SEARCH ALL", "REPLACE 1 x {3+}\r\nabc",
    "UID REPLACE 1 x {3+}\r\nabc"]


def words(answer):
    return answer.untagged[0].decode().split()


@pytest.fixture
def c(imap_account):
    return imap_account.open()


# --- states --------------------------------------------------------------------------------------
@pytest.mark.parametrize("command", LOGGED_IN + SELECTED)
def test_not_before_login(appliance, command):
    with Imap(appliance.connect("imaps")) as c:
        answer = c.run(command)
        assert (answer.status, answer.text) == ("BAD", b"Log in first")
        assert c.run("NOOP").status == "OK"


@pytest.mark.parametrize("command", SELECTED)
def test_not_without_a_mailbox(c, command):
    answer = c.run(command)
    assert answer.status == "BAD" and b"elect" in answer.text, answer
    assert c.run("NOOP").status == "OK"


@pytest.mark.parametrize("mailbox", [None, "INBOX"])
def test_not_after_login(imap_account, mailbox):
    c = imap_account.open(mailbox)
    for command in NOT_AUTH:
        answer = c.run(command)
        assert (answer.status, answer.text) == ("BAD", b"Already logged in")
    for command in ANYWHERE:
        assert c.run(command).status == "OK"


def test_case_does_not_matter(c):
    c.ok("select inbox")
    c.ok("uId sEaRcH all")
    c.ok("Noop")


def test_arguments_where_none_belong(c):
    c.ok("SELECT INBOX")
    for command in ("NOOP", "CAPABILITY", "LOGOUT", "NAMESPACE", "IDLE", "CHECK", "CLOSE",
                    "UNSELECT", "EXPUNGE"):
        assert c.run(command + " x").status == "BAD", command
    for command in ("SELECT", "ENABLE", "COMPRESS", "FETCH", "UID FETCH", "ID"):
        assert c.run(command).status == "BAD", command


# --- capabilities --------------------------------------------------------------------------------
def test_capabilities(appliance):
    with Imap(appliance.connect("imaps")) as c:
        assert c.greeting.startswith(b"* OK [CAPABILITY IMAP4rev1 ")
        told = c.greeting[c.greeting.index(b"[CAPABILITY") + 1:c.greeting.index(b"]")]
        assert c.ok("CAPABILITY").untagged == [told]
        before = told.decode().split()
        assert {"AUTH=PLAIN", "SASL-IR", "LITERAL+", "ID"} <= set(before)
        assert not {"STARTTLS", "LOGINDISABLED", "IDLE"} & set(before)
        answer = c.login("alice@example.test", PASSWORD)
        told = answer.text[answer.text.index(b"[CAPABILITY") + 1:answer.text.index(b"]")]
        after = c.ok("CAPABILITY")
        assert after.untagged == [told]
        assert words(after)[1] == "IMAP4rev1"
        assert not [w for w in words(after) if w.startswith("AUTH=")]
        assert len(set(words(after))) == len(words(after))
        assert {"IDLE", "NAMESPACE", "UNSELECT", "CHILDREN", "ENABLE", "CONDSTORE", "QRESYNC",
                "UIDPLUS", "MOVE", "COMPRESS=DEFLATE"} <= set(words(after))
        assert "APPENDLIMIT=52428800" in words(after)


def test_a_listener_that_demands_tls(make_appliance):
    a = make_appliance(listeners={"imap": {"tls": "required", "login_without_tls": "yes"}},
                       accounts=("alice",))
    with Imap(a.connect("imap")) as c:
        assert b"LOGINDISABLED" in c.greeting and b"STARTTLS" in c.greeting
        for command in ("LOGIN a b", "AUTHENTICATE PLAIN", 'LIST "" *'):
            assert c.run(command).status in ("NO", "BAD")
        for command in ("NOOP", "CAPABILITY", "ID NIL"):
            c.ok(command)


# --- small commands ------------------------------------------------------------------------------
def test_logout(c):
    answer = c.run("LOGOUT")
    assert answer.status == "OK"
    assert answer.untagged and answer.untagged[0].startswith(b"BYE")
    with pytest.raises(EOFError):
        c.read_line()


def test_nothing_behind_logout(c):
    c.send(b"t LOGOUT\r\nu CREATE later\r\n")
    assert c.read_line().startswith(b"* BYE")
    assert c.read_line().startswith(b"t OK")
    with pytest.raises(EOFError):
        c.read_line()


def test_id(c):
    for ask in ("NIL", "()", '("name" "x")', '("name" NIL "version" "1")',
                '("NAME" {3+}\r\nabc "x" "")'):
        assert c.ok(f"ID {ask}").untagged == [b'ID ("name" "mailstead")']
    for ask in ("x", '("name")', '("name" "x"', '(name x)', '("a" "b" "c")', 'NIL NIL',
                "(" + " ".join(f'"k{n}" "v"' for n in range(31)) + ")"):
        assert c.run(f"ID {ask}").status == "BAD", ask


def test_namespace(c):
    assert c.ok("NAMESPACE").untagged == [b'NAMESPACE (("" "/")) NIL NIL']


def test_enable(c):
    assert c.ok("ENABLE X-UNKNOWN").untagged == [b"ENABLED"]
    assert c.ok("ENABLE condstore").untagged == [b"ENABLED CONDSTORE"]
    assert c.ok("ENABLE QRESYNC X").untagged == [b"ENABLED QRESYNC"]
    assert c.run("ENABLE ()").status == "BAD"
    assert c.run("ENABLE QRESYNC ").status == "BAD"


def test_enable_tells_the_modseq_of_the_selected_mailbox(imap_account):
    c = imap_account.open("INBOX")
    untagged = c.ok("ENABLE CONDSTORE").untagged
    assert any(x.startswith(b"OK [HIGHESTMODSEQ ") for x in untagged), untagged


# --- COMPRESS ------------------------------------------------------------------------------------
class Deflate:
    """Wraps a socket as both socket and file of a client."""

    def __init__(self, sock):
        self.sock = sock
        self.unpacker = zlib.decompressobj(-15)
        self.packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        self.data = b""

    def fill(self):
        raw = self.sock.recv(65536)
        if raw:
            self.data += self.unpacker.decompress(raw)
        return bool(raw)

    def sendall(self, data):
        self.sock.sendall(self.packer.compress(data) + self.packer.flush(zlib.Z_SYNC_FLUSH))

    def take(self, n):
        part, self.data = self.data[:n], self.data[n:]
        return part

    def readline(self):
        while b"\n" not in self.data and self.fill():
            pass
        return self.take(self.data.find(b"\n") + 1)

    def read(self, n):
        while len(self.data) < n and self.fill():
            pass
        return self.take(n)

    def close(self):
        self.sock.close()


def compress(c):
    assert c.ok("COMPRESS DEFLATE").untagged == []
    c.sock = c.file = Deflate(c.sock)


@pytest.mark.parametrize("listener", ["imap", "imaps"])
def test_compress(make_appliance, listener):
    a = make_appliance(listeners={"imap": {"login_without_tls": "yes"}}, accounts=("alice",))
    with Imap(a.connect(listener)) as c:
        c.login("alice@example.test", PASSWORD)
        compress(c)
        assert c.run("COMPRESS DEFLATE").text.startswith(b"[COMPRESSIONACTIVE]")
        assert b"COMPRESS" not in c.ok("CAPABILITY").untagged[0]
        c.ok("SELECT INBOX")
        # Packs to a thousandth: far more than one turn takes comes out of few bytes.
        packs = b"Subject: a\r\n\r\n" + b"0123456789" * 300000 + b"\r\n"
        odd = b"Subject: b\r\n\r\n" + zlib.compress(bytes(range(256)) * 4000).hex().encode() * 30
        c.append("INBOX", packs)
        c.append("INBOX", odd)
        for _ in range(2):
            got = c.fetch("1:2", "BODY.PEEK[]")
            assert got[1]["BODY[]"] == packs and got[2]["BODY[]"] == odd
        c.send(b"".join(b"p%d NOOP\r\n" % n for n in range(500)))
        for n in range(500):
            assert c.read_line() == b"p%d OK Nothing done" % n
        # A client that waits for news byte by byte gets them without more being sent.
        c.send(b"i IDLE\r\n")
        assert c.read_line().startswith(b"+")
        with Imap(a.connect("imaps")) as other:
            other.login("alice@example.test", PASSWORD)
            other.append("INBOX", MESSAGE)
            assert c.read_line() == b"* 3 EXISTS"
        c.send(b"DONE\r\n")
        while not c.read_line().startswith(b"i OK"):
            pass
        assert c.run("LOGOUT").status == "OK"
        assert c.file.readline() == b""


@pytest.mark.parametrize("data", [
    b"\xff" * 100, b"NOOP\r\n" * 10, b"\x01\x00\x00\x00\x00" * 10, b"\x03\x00", b"\x03\x00x"])
def test_broken_or_ended_compressed_data(c, data):
    """The server closes the connection."""
    c.ok("COMPRESS DEFLATE")
    c.sock.sendall(data)
    try:
        while c.sock.recv(4096):
            pass
    except ConnectionResetError:
        pass


def test_a_bomb_is_a_long_line(c):
    """100 MB out of 100 KB: cut off like the same bytes uncompressed, in bounded memory."""
    compress(c)
    with pytest.raises((EOFError, OSError)):
        c.send(b"x" * (100 * 1024 * 1024))
        while True:
            c.read_line()


def test_nothing_may_follow_compress(c):
    c.send(b"t COMPRESS DEFLATE\r\nu NOOP\r\n")
    assert c.read_line().startswith(b"t OK")
    with pytest.raises(EOFError):
        while True:
            assert not c.read_line().startswith(b"u")


def test_compress_arguments(c):
    assert c.run("COMPRESS LZW").text.startswith(b"[CANNOT]")
    assert c.run("COMPRESS DEFLATE 9").status == "BAD"
    assert c.run("COMPRESS (DEFLATE)").status == "BAD"


# --- SELECT --------------------------------------------------------------------------------------
def codes(answer):
    return {x[4:].split(b"]")[0].split(b" ")[0].decode(): x for x in answer.untagged
            if x.startswith(b"OK [")}


def test_select_tells_all(imap_account):
    c = imap_account.open()
    fill(c, "INBOX", 1, "\\Seen $Work")
    fill(c, "INBOX", 2)
    answer = c.ok("SELECT inbox")
    assert answer.text.startswith(b"[READ-WRITE]")
    assert b"3 EXISTS" in answer.untagged and b"3 RECENT" in answer.untagged
    assert b"FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Work)" in answer.untagged
    found = codes(answer)
    assert found["UNSEEN"].startswith(b"OK [UNSEEN 2]")
    assert found["UIDNEXT"].startswith(b"OK [UIDNEXT 4]")
    assert b"\\*" in found["PERMANENTFLAGS"]
    assert {"UIDVALIDITY", "HIGHESTMODSEQ", "MAILBOXID"} <= set(found)
    assert "CLOSED" not in found
    again = c.ok("EXAMINE INBOX")
    assert again.text.startswith(b"[READ-ONLY]")
    assert "CLOSED" in codes(again) and b"0 RECENT" in again.untagged
    assert b"PERMANENTFLAGS ()" in codes(again)["PERMANENTFLAGS"]
    assert codes(again)["UIDVALIDITY"] == found["UIDVALIDITY"]


def test_select_of_what_is_not_there(imap_account):
    """A failed SELECT leaves no mailbox selected (RFC 3501 6.3.1)."""
    c = imap_account.open("INBOX")
    c.ok("CREATE level/leaf")
    c.ok("DELETE level")
    for name in ("nope", "level", '""', "a//b", "&bad"):
        c.ok("SELECT INBOX")
        assert c.run(f"SELECT {name}").status == "NO", name
        assert c.run("CHECK").status == "BAD"
    c.ok("SELECT INBOX")
    for bad in ("SELECT INBOX x", "SELECT INBOX ()", "SELECT INBOX (X)", "SELECT INBOX (CONDSTORE",
                "SELECT (", "SELECT INBOX (QRESYNC)", "SELECT INBOX (QRESYNC (1 2)"):
        assert c.run(bad).status == "BAD", bad
    # Syntax errors change nothing.
    c.ok("CHECK")


def test_close_and_unselect(imap_account):
    c = imap_account.open("INBOX")
    fill(c, "INBOX", 2, "\\Deleted")
    c.ok("UNSELECT")
    assert c.ok("EXAMINE INBOX").untagged.count(b"2 EXISTS") == 1
    assert c.ok("CLOSE").untagged == []
    assert b"2 EXISTS" in c.ok("SELECT INBOX").untagged
    assert c.ok("CLOSE").untagged == []
    assert b"0 EXISTS" in c.ok("SELECT INBOX").untagged


def test_read_only(imap_account):
    c = imap_account.open()
    fill(c, "INBOX", 1, "\\Deleted")
    c.ok("EXAMINE INBOX")
    for command in ("EXPUNGE", "STORE 1 FLAGS (\\Seen)", "MOVE 1 Sent", "UID EXPUNGE 1"):
        assert c.run(command).status == "NO", command
    c.ok("FETCH 1 BODY[]")
    assert b"\\Seen" not in b"".join(c.ok("FETCH 1 FLAGS").untagged)
    c.ok("COPY 1 Sent")


@pytest.mark.parametrize("selected", [False, True])
@pytest.mark.parametrize("cut", range(1, 6))
def test_the_beginning_of_done_comes_with_idle(imap_account, cut, selected):
    c = imap_account.open("INBOX" if selected else None)
    done = b"DONE\r\n"
    c.send(b"i1 IDLE\r\n" + done[:cut])
    assert c.read_line() == b"+ idling"
    imap_account.open().append("INBOX", b"Subject: x\r\n\r\n")
    c.send(done[cut:])
    line = c.read_line()
    while line.startswith(b"* "):
        line = c.read_line()
    assert line.startswith(b"i1 OK"), line
