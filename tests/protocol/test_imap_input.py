"""What the IMAP server makes of bytes: lines, literals, limits, and what must not get through."""
import base64

import pytest

from appliance import PASSWORD, tls_context
from imap import Imap


def tls(appliance):
    return Imap(appliance.connect("imaps"))


def answer_to(c, data, tag=b"t"):
    """Sends bytes; the untagged lines, and the line that begins with the tag (or BYE, or EOF)."""
    c.send(data)
    return answer(c, tag)


def answer(c, tag=b"t"):
    untagged = []
    while True:
        try:
            line = c.read_line()
        except (EOFError, ConnectionResetError):
            return untagged, b""
        if line.startswith((b"* BAD", b"+")) or not line.startswith(b"* "):
            return untagged, line
        untagged.append(line)


def is_alive(c):
    return c.run("NOOP").status == "OK"


def is_closed(c):
    try:
        while True:
            c.read_line()
    except (EOFError, ConnectionResetError):
        return True


@pytest.fixture
def out(appliance):
    """Before login."""
    with tls(appliance) as c:
        yield c


@pytest.fixture
def c(imap_account):
    return imap_account.open("INBOX")


# --- lines ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("data", [
    b"\r\n", b" \r\n", b"+ NOOP\r\n", b"a(b NOOP\r\n", b"* NOOP\r\n", b"\xff NOOP\r\n",
    b"x" * 65 + b" NOOP\r\n", b"{3}\x00\r\n"])
def test_without_a_tag(out, data):
    _, line = answer_to(out, data)
    assert line.startswith(b"* BAD "), line
    assert is_alive(out)


@pytest.mark.parametrize("data", [
    b"t\r\n", b"t \r\n", b"t  NOOP\r\n", b"t NOOP \r\n", b"t NOOP x\r\n", b"t NOPE\r\n",
    b"t UID\r\n", b"t UID NOOP\r\n", b"t NOOP(\r\n", b"t LOGIN\r\n", b"t LOGIN \r\n",
    b"t LOGIN a\r\n", b"t LOGIN a \r\n", b"t LOGIN a b c\r\n", b't LOGIN "a b\r\n',
    b't LOGIN "a\\x" b\r\n', b"t LOGIN a\"b c\r\n", b"t AUTHENTICATE\r\n", b"t ID\r\n",
    b"t ID ()x\r\n", b"t ID (\"a\")\r\n", b"t ID (\"a\" \"b\"\r\n"])
def test_bad_syntax_before_login(out, data):
    _, line = answer_to(out, data)
    assert line.startswith(b"t BAD "), line
    assert is_alive(out)


@pytest.mark.parametrize("data", [
    b"t NOOP\n", b"t NOOP\r\r\n", b"t NO\rOP\r\n", b"t \rNOOP\r\n", b"t NOOP\x00\r\n",
    b"\x00t NOOP\r\n", b"t\x00 NOOP\r\n", b"t N\x00OOP\r\n"])
def test_nul_and_bare_line_ends(c, data):
    _, line = answer_to(c, data)
    assert line.startswith((b"t BAD ", b"* BAD ")), line
    assert is_alive(c)


COMMANDS = [
    b't LOGIN "alice" {3+}\r\nabc', b"t SELECT INBOX", b"t FETCH 1:* (FLAGS BODY.PEEK[TEXT])",
    b't SEARCH SUBJECT "hello" NOT (SEEN)', b't LIST "" %', b"t STORE 1 +FLAGS (\\Seen)",
    b"t APPEND INBOX (\\Seen) {5+}\r\nabcde", b't ID ("name" "x")', b"t STATUS INBOX (MESSAGES)",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_nul_at_every_position(imap_account, command):
    for at in range(len(command) + 1):
        c = imap_account.open("INBOX") if at % 6 == 0 else c
        broken = command[:at] + b"\x00" + command[at:] + b"\r\n"
        untagged, line = answer_to(c, broken)
        # A NUL in a literal makes it one byte longer than announced: the rest is another command.
        assert b" OK" not in line[:6], (at, line)
        assert line, at
        if b"{" in command:
            c.send(b"\r\nsync NOOP\r\n")
            while not line.startswith(b"sync "):
                line = c.read_line()
        assert is_alive(c)


def test_long_lines(out, c):
    """8 KiB before login, imap.command_line_max after it; the next command is understood."""
    for one, size in ((out, 9000), (c, 70000), (c, 400000)):
        untagged, line = answer_to(one, b"t NOOP " + b"x" * size + b"\r\n")
        assert line == b"t BAD Command line too long"
        untagged, line = answer_to(one, b"t" * 5 + b" " + b"x" * size + b" {3+}\r\nabc {0+}\r\n\r\n",
                                   b"ttttt")
        assert line == b"ttttt BAD Command line too long"
        untagged, line = answer_to(one, b"t NOOP " + b"x" * size + b" {3}\r\n")
        assert line == b"t BAD Command line too long"
        assert is_alive(one)


def test_endless_lines(out, c):
    for one in (out, c):
        one.sock.settimeout(30)
        try:
            for _ in range(40):
                one.send(b"x" * 65536)
        except OSError:
            pass
        assert is_closed(one)


def test_one_byte_at_a_time(c):
    for byte in b't SEARCH SUBJECT {3+}\r\nabc NOT {4+}\r\n':
        c.send(bytes([byte]))
    _, line = answer_to(c, b"SEEN\r\n")
    assert line.startswith(b"t "), line
    for byte in b"t2 NOOP\r\n":
        c.send(bytes([byte]))
    assert answer(c, b"t2")[1] == b"t2 OK Nothing done"


def test_pipelining(c):
    """Answers come in the order of the commands, whatever each of them waits for."""
    commands = [b"p%d %s\r\n" % (n, what) for n, what in enumerate(
        [b"NOOP", b'LIST "" *', b"SEARCH ALL", b"NOPE", b"STATUS INBOX (MESSAGES)", b"SELECT Sent",
         b"FETCH 1 FLAGS", b"UID FETCH 1:* FLAGS", b"CAPABILITY",
         b"APPEND INBOX {3+}\r\nabc", b"SELECT INBOX"] * 8)]
    c.send(b"".join(commands))
    for n in range(len(commands)):
        _, line = answer(c)
        assert line.startswith(b"p%d " % n), (n, line)


def test_a_hasty_client(c):
    """A thousand commands before the first answer is read."""
    c.send(b"".join(b"h%d CAPABILITY\r\n" % n for n in range(1000)))
    for n in range(1000):
        _, line = answer(c)
        assert line.startswith(b"h%d OK" % n)


def test_half_closed(imap_account):
    """What was sent before the client's end of file is answered."""
    import socket
    c = Imap(imap_account.appliance.connect("imap"))
    c.send(b"t CAPABILITY\r\nu NOOP\r\nv ID NIL")
    c.sock.shutdown(socket.SHUT_WR)
    assert answer(c)[1].startswith(b"t OK")
    assert answer(c)[1].startswith(b"u OK")
    assert is_closed(c)
    c.close()


# --- literals ------------------------------------------------------------------------------------
NUMBERS = ["4294967295", "4294967296", "9223372036854775807", "9223372036854775808",
           "18446744073709551615", "18446744073709551616", "99999999999999999999", "9" * 40]


@pytest.mark.parametrize("number", NUMBERS)
def test_absurd_literals(out, c, number):
    """Synchronising: refused with the session going on. Not: the client is cut off."""
    for one in (out, c):
        _, line = answer_to(one, f"t LOGIN {{{number}}}\r\n".encode())
        assert line == b"t BAD Literal too large"
        assert is_alive(one)
    _, line = answer_to(c, f"t APPEND INBOX {{{number}}}\r\n".encode())
    assert line.startswith(b"t NO [TOOBIG]"), line
    assert is_alive(c)
    for one in (out, c):
        untagged, line = answer_to(one, f"t LOGIN {{{number}+}}\r\n".encode())
        assert line == b"" and untagged == [b"* BYE Literal too large"]


def test_a_literal_of_endless_digits_behind_a_long_line(out, c):
    """Of a refused line only the end is kept, without this literal's brace: its bytes are no commands."""
    for one, size in ((out, 9000), (c, 70000)):
        one.send(b"t NOOP " + b"x" * size + b" {" + b"0" * 80 + b"9+}\r\nu LOGOUT\r\n")
        assert one.read_line() == b"* BYE Command line too long"
        assert is_closed(one)


@pytest.mark.parametrize("bad", ["{}", "{+}", "{-1}", "{1-}", "{1++}", "{ 1}", "{1 }", "{0x1}",
                                 "{1+ }", "{1}+"])
def test_what_is_no_literal(out, bad):
    _, line = answer_to(out, f"t LOGIN {bad}\r\n".encode())
    assert line.startswith(b"t BAD "), line
    assert is_alive(out)


def test_literals_of_nothing(out, c):
    _, line = answer_to(out, b"t LOGIN {0+}\r\n {0+}\r\n\r\n")
    assert line.startswith(b"t NO [AUTHENTICATIONFAILED]")
    _, line = answer_to(out, b"t LOGIN {0}\r\n")
    assert line == b"+ OK"
    _, line = answer_to(out, b" {00000000000000000000000000000001+}\r\nx\r\n")
    assert line.startswith(b"t NO [AUTHENTICATIONFAILED]")
    _, line = answer_to(c, b"t APPEND INBOX {0+}\r\n\r\n")
    assert line.startswith(b"t NO"), line
    assert c.search("SUBJECT {0+}\r\n") == []


def test_literal_limits(out, c):
    """1 KiB before login, imap.literal_max after it."""
    for one, limit in ((out, 1024), (c, 65536)):
        good, bad = b"y" * limit, b"y" * (limit + 1)
        _, line = answer_to(one, b"t ID (\"x\" {%d}\r\n" % len(good))
        assert line == b"+ OK"
        _, line = answer_to(one, good + b")\r\n")
        assert line.startswith(b"t OK"), line
        _, line = answer_to(one, b"t ID (\"x\" {%d+}\r\n" % len(good) + good + b")\r\n")
        assert line.startswith(b"t OK"), line
        _, line = answer_to(one, b"t ID (\"x\" {%d}\r\n" % len(bad))
        assert line == b"t BAD Literal too large"
        _, line = answer_to(one, b"t ID (\"x\" {%d+}\r\n" % len(bad) + bad + b")\r\n")
        assert line == b"t BAD Literal too large"
        assert is_alive(one)


def test_a_refused_literal_hides_no_commands(c):
    """What stands in a literal is never run, also if the command is refused."""
    hidden = b"\r\nx CREATE hidden\r\n" + b"z" * 70000
    _, line = answer_to(c, b"t SEARCH SUBJECT {%d+}\r\n" % len(hidden) + hidden +
                        b" {20+}\r\nx CREATE hidden2\r\n\r\n\r\n")
    assert line == b"t BAD Literal too large"
    _, line = answer_to(c, b"t SEARCH SUBJECT {25+}\r\n\x00\r\nx CREATE hidden3\r\nabcd\r\n")
    assert line == b"t BAD NUL in a literal"
    assert is_alive(c)
    assert not [x for x in c.ok('LIST "" *').untagged if b"hidden" in x]


def test_many_literals(c):
    """As many as fit into a command; their sum is bounded."""
    keys = b" ".join(b"SUBJECT {1000+}\r\n" + b"w" * 1000 for _ in range(100))
    _, line = answer_to(c, b"t SEARCH " + keys + b"\r\n")
    assert line.startswith(b"t OK"), line
    keys = b" ".join(b"SUBJECT {60000+}\r\n" + b"w" * 60000 for _ in range(20))
    _, line = answer_to(c, b"t SEARCH " + keys + b"\r\n")
    assert line == b"t BAD Literal too large"
    assert is_alive(c)


def test_many_quoted_strings(c):
    """The command's memory is counted in what it holds, not in what follows."""
    keys = b" ".join(b'SUBJECT "' + b"w" * 300 + b'"' for _ in range(150))
    _, line = answer_to(c, b"t SEARCH " + keys + b"\r\n")
    assert line.startswith(b"t OK"), line


def test_memory_follows_bytes(imap_account):
    """An announced literal costs nothing."""
    c = imap_account.open()
    pid = imap_account.appliance.pids()["imapd-worker"]
    if "asan" in __import__("os").environ.get("MS_BUILD", ""):
        pytest.skip("the sanitizer has memory of its own")

    def rss():
        with open(f"/proc/{pid}/status", encoding="ascii") as status:
            return [int(x.split()[1]) for x in status if x.startswith("VmRSS")][0]

    sessions = [imap_account.open() for _ in range(20)]
    before = rss()
    for one in sessions:
        one.send(b"t APPEND INBOX {50000000+}\r\nx")
        one.send(b"y" * 10)
    c.ok("NOOP")
    assert rss() - before < 20 * 64 + 1024


# --- STARTTLS ------------------------------------------------------------------------------------
def test_starttls(appliance):
    c = Imap(appliance.connect("imap"))
    assert b"STARTTLS" in c.greeting and b"LOGINDISABLED" in c.greeting
    assert b"AUTH=" not in c.greeting
    assert c.run("LOGIN alice@example.test x").text.startswith(b"[PRIVACYREQUIRED]")
    assert c.run("AUTHENTICATE PLAIN").text.startswith(b"[PRIVACYREQUIRED]")
    c.ok("STARTTLS")
    secure = tls_context().wrap_socket(c.sock, server_hostname="mail.example.test")
    c.sock, c.file = secure, secure.makefile("rb")
    text = c.ok("CAPABILITY").untagged[0]
    assert b"STARTTLS" not in text and b"LOGINDISABLED" not in text and b"AUTH=PLAIN" in text
    assert c.run("STARTTLS").status == "BAD"
    c.login("alice@example.test", PASSWORD)
    assert c.run("STARTTLS").status == "BAD"
    c.close()


@pytest.mark.parametrize("injected", [b"x", b"b NOOP\r\n", b"b LOGIN a b\r\n", b"\x16\x03\x01"])
def test_starttls_injection(appliance, injected):
    c = Imap(appliance.connect("imap"))
    c.send(b"t STARTTLS\r\n" + injected)
    untagged, line = answer(c)
    assert line.startswith(b"t OK")
    assert is_closed(c)
    c.close()


# --- bad commands --------------------------------------------------------------------------------
def test_bad_commands_are_counted(make_appliance):
    appliance = make_appliance(settings={"imap.bad_commands_max": "5"}, accounts=("alice",))
    for login in (False, True):
        with tls(appliance) as c:
            if login:
                c.login("alice@example.test", PASSWORD)
            for _ in range(4):
                assert c.run("NOPE").status == "BAD"
            assert is_alive(c)
            untagged, line = answer_to(c, b"t NOPE\r\n")
            assert line.startswith(b"t BAD")
            assert c.read_line() == b"* BYE Too many bad commands"
            assert is_closed(c)
    with tls(appliance) as c:
        for _ in range(5):
            assert c.run("LOGIN alice@example.test wrong").text.startswith(
                b"[AUTHENTICATIONFAILED]")
        assert is_closed(c)


# --- SASL ----------------------------------------------------------------------------------------
def plain(user, password, authzid=""):
    return base64.b64encode(f"{authzid}\0{user}\0{password}".encode())


def test_authenticate_plain(appliance):
    user = "alice@example.test"
    with tls(appliance) as c:
        _, line = answer_to(c, b"t AUTHENTICATE PLAIN\r\n")
        assert line.strip() == b"+"
        _, line = answer_to(c, plain(user, PASSWORD) + b"\r\n")
        assert line.startswith(b"t OK [CAPABILITY IMAP4rev1 ")
        assert c.run("AUTHENTICATE PLAIN").status == "BAD"
    with tls(appliance) as c:
        _, line = answer_to(c, b"t authenticate plain " + plain(user, PASSWORD) + b"\r\n")
        assert line.startswith(b"t OK [CAPABILITY IMAP4rev1 ")
    with tls(appliance) as c:
        _, line = answer_to(c, b"t AUTHENTICATE LOGIN\r\n")
        assert line == b"+ VXNlcm5hbWU6"
        _, line = answer_to(c, base64.b64encode(user.encode()) + b"\r\n")
        assert line == b"+ UGFzc3dvcmQ6"
        _, line = answer_to(c, base64.b64encode(PASSWORD.encode()) + b"\r\n")
        assert line.startswith(b"t OK")


@pytest.mark.parametrize("answer_line,status", [
    (b"*", b"BAD"), (b"", b"BAD"), (b"!!!!", b"BAD"), (b"AAAA", b"BAD"), (b"=", b"BAD"),
    (base64.b64encode(b"\0\0"), b"BAD"), (base64.b64encode(b"no nul"), b"BAD"),
    (base64.b64encode(b"\0a\0b\0c"), b"BAD"), (b"A" * 4097, b"BAD"), (b"A" * 100000, b"BAD"),
    (b"A\0AA", b"BAD"), (b"t NOOP", b"BAD"), (b"NOOP {3+}", b"BAD"),
    (plain("alice@example.test", "wrong"), b"NO"), (plain("nobody", "x"), b"NO")])
def test_authenticate_goes_wrong(out, answer_line, status):
    answer_to(out, b"t AUTHENTICATE PLAIN\r\n")
    _, line = answer_to(out, answer_line + b"\r\n")
    assert line.startswith(b"t " + status), line
    assert is_alive(out)
    if answer_line.endswith(b"}"):
        return
    _, line = answer_to(out, b"t AUTHENTICATE PLAIN " + (answer_line or b"=") + b"\r\n")
    assert line.startswith((b"t BAD", b"t NO", b"* BAD")), line
    assert is_alive(out)


def test_unknown_mechanisms(out):
    for name in ("CRAM-MD5", "X", "PLAINX", "EXTERNAL"):
        assert out.run(f"AUTHENTICATE {name}").text.startswith(b"[CANNOT]")
    assert is_alive(out)
