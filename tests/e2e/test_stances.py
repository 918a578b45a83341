"""Every protocol with every TLS stance: what is offered, what is refused, and that it works."""
import imaplib
import poplib
import smtplib
import socket

import pytest

from appliance import Appliance, PASSWORD
from clients import ALICE, BOB, HOST, imap, pop3, run, smtp

ROLES = ("smtp", "submission", "imap", "pop3")
STANCES = ("none", "offered", "required", "implicit")


def listeners():
    """role-stance, and role-open: without TLS, but logins are allowed."""
    made = {f"{role}-{stance}": {"role": role, "tls": stance}
            for role in ROLES for stance in STANCES}
    made.update({f"{role}-open": {"role": role, "tls": "none", "login_without_tls": "yes"}
                 for role in ROLES})
    made["smtp-noauth"] = {"role": "smtp", "tls": "offered", "auth": "no"}
    return made


@pytest.fixture(scope="module")
def mail():
    with Appliance(listeners=listeners()) as appliance:
        yield appliance


# --- SMTP ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("role", ("smtp", "submission"))
@pytest.mark.parametrize("stance", STANCES + ("open",))
def test_smtp_before_tls(mail, role, stance):
    first = "implicit" if stance == "implicit" else "clear"
    with smtp(mail, f"{role}-{stance}", first) as session:
        assert session.has_extn("starttls") == (stance in ("offered", "required"))
        assert session.has_extn("auth") == (stance in ("implicit", "open"))
        code, text = session.docmd("AUTH PLAIN", "AGFsaWNlQGV4YW1wbGUudGVzdABzZWNyZXQ=")
        if stance in ("implicit", "open"):
            assert code == 535
        else:
            assert code in (502, 503, 530, 538), text
        if stance in ("none", "implicit", "open"):
            assert session.docmd("STARTTLS")[0] in (454, 502, 503)
        code, text = session.mail(ALICE)
        if stance == "required":
            assert code == 530 and text.startswith(b"5.7.0")
        elif role == "submission":
            assert code == 530  # not without a login
        else:
            assert code == 250


@pytest.mark.parametrize("role", ("smtp", "submission"))
@pytest.mark.parametrize("stance", ("offered", "required", "implicit", "open"))
def test_smtp_login(mail, role, stance):
    how = {"implicit": "implicit", "open": "clear"}.get(stance, "starttls")
    with smtp(mail, f"{role}-{stance}", how) as session:
        assert not session.has_extn("starttls")
        assert session.has_extn("auth")
        with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
            session.login(ALICE, "wrong")
        assert refused.value.smtp_code == 535
        session.login(ALICE, PASSWORD)
        assert session.mail(ALICE)[0] == 250
        assert session.rcpt("anyone@far.example")[0] == 250


def test_smtp_without_logins(mail):
    with smtp(mail, "smtp-noauth", "starttls") as session:
        assert not session.has_extn("auth")
        assert session.docmd("AUTH PLAIN", "AGFsaWNlQGV4YW1wbGUudGVzdABzZWNyZXQ=")[0] in (502, 503)
        assert session.mail("stranger@far.example")[0] == 250
        assert session.rcpt("anyone@far.example")[0] in (550, 554)
        assert session.rcpt(BOB)[0] == 250


@pytest.mark.parametrize("listener,flags", (
    ("submission", ("--tls", "--auth", "PLAIN")),
    ("submission", ("--tls", "--auth", "LOGIN")),
    ("submission-alt", ("--tls", "--auth", "PLAIN")),
    ("submissions", ("--tls-on-connect", "--auth", "PLAIN")),
    ("submission-open", ("--auth", "LOGIN")),
    ("smtp", ("--tls",)),
    ("smtp", ())))
def test_swaks(mail, listener, flags):
    login = ("--auth-user", ALICE, "--auth-password", PASSWORD) if "--auth" in flags else ()
    done = run("swaks", "--server", HOST, "--port", str(mail.ports[listener]), "--from", ALICE,
               "--to", BOB, "--helo", "client.example", *flags, *login)
    assert b"\n<~  250 2.0.0" in done.stdout or b"\n<-  250 2.0.0" in done.stdout, done.stdout


@pytest.mark.parametrize("listener,scheme,flags", (
    ("submission", "smtp", ("--ssl-reqd",)),
    ("submissions", "smtps", ()),
    ("submission-open", "smtp", ())))
def test_curl_smtp(mail, tmp_path, listener, scheme, flags):
    letter = tmp_path / "letter"
    letter.write_bytes(b"Subject: by curl\r\n\r\ntext\r\n")
    run("curl", "-sS", "-k", f"{scheme}://{HOST}:{mail.ports[listener]}/client.example",
        "--mail-from", ALICE, "--mail-rcpt", BOB, "-u", f"{ALICE}:{PASSWORD}", "-T", str(letter),
        *flags)


# --- IMAP ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("stance", STANCES + ("open",))
def test_imap_before_tls(mail, stance):
    first = "implicit" if stance == "implicit" else "clear"
    session = imap(mail, f"imap-{stance}", first)
    assert ("STARTTLS" in session.capabilities) == (stance in ("offered", "required"))
    assert ("LOGINDISABLED" in session.capabilities) == (stance not in ("implicit", "open"))
    assert ("AUTH=PLAIN" in session.capabilities) == (stance in ("implicit", "open"))
    if stance in ("implicit", "open"):
        session.login(ALICE, PASSWORD)
    else:
        with pytest.raises(imaplib.IMAP4.error) as refused:
            session.login(ALICE, PASSWORD)
        assert "PRIVACYREQUIRED" in str(refused.value)
    session.logout()


@pytest.mark.parametrize("stance", ("offered", "required"))
def test_imap_starttls(mail, stance):
    session = imap(mail, f"imap-{stance}", "starttls")
    assert "STARTTLS" not in session.capabilities
    assert "LOGINDISABLED" not in session.capabilities
    with pytest.raises(imaplib.IMAP4.error) as refused:
        session.login(ALICE, "wrong")
    assert "AUTHENTICATIONFAILED" in str(refused.value)
    session.authenticate("PLAIN", lambda _: f"\0{ALICE}\0{PASSWORD}".encode())
    assert session.select()[0] == "OK"
    session.logout()


@pytest.mark.parametrize("listener,scheme,flags", (
    ("imap", "imap", ("--ssl-reqd",)),
    ("imaps", "imaps", ()),
    ("imap-open", "imap", ())))
def test_curl_imap(mail, listener, scheme, flags):
    done = run("curl", "-sS", "-k", f"{scheme}://{HOST}:{mail.ports[listener]}/", "-u",
               f"{ALICE}:{PASSWORD}", "-X", 'LIST "" *', *flags)
    names = sorted(line.split(b" ")[-1].strip(b'"\r') for line in done.stdout.splitlines())
    assert names == [b"Archive", b"Drafts", b"INBOX", b"Junk", b"Sent", b"Trash"]


# --- POP3 ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("stance", STANCES + ("open",))
def test_pop3_before_tls(mail, stance):
    first = "implicit" if stance == "implicit" else "clear"
    session = pop3(mail, f"pop3-{stance}", first)
    capabilities = session.capa()
    assert ("STLS" in capabilities) == (stance in ("offered", "required"))
    assert ("USER" in capabilities) == (stance in ("implicit", "open"))
    assert ("SASL" in capabilities) == (stance in ("implicit", "open"))
    if stance in ("implicit", "open"):
        session.user(ALICE)
        session.pass_(PASSWORD)
    else:
        with pytest.raises(poplib.error_proto):
            session.user(ALICE)
            session.pass_(PASSWORD)
    session.quit()


@pytest.mark.parametrize("stance", ("offered", "required"))
def test_pop3_starttls(mail, stance):
    session = pop3(mail, f"pop3-{stance}", "starttls")
    capabilities = session.capa()
    assert "STLS" not in capabilities and "USER" in capabilities
    session.user(BOB)
    with pytest.raises(poplib.error_proto) as refused:
        session.pass_("wrong")
    assert "[AUTH]" in str(refused.value)
    session.user(BOB)
    session.pass_(PASSWORD)
    session.quit()


@pytest.mark.parametrize("listener,scheme,flags", (
    ("pop3", "pop3", ("--ssl-reqd",)),
    ("pop3s", "pop3s", ()),
    ("pop3-open", "pop3", ())))
def test_curl_pop3(mail, listener, scheme, flags):
    run("curl", "-sS", "-k", f"{scheme}://{HOST}:{mail.ports[listener]}/", "-u",
        f"{BOB}:{PASSWORD}", *flags)


# --- upgrades that are attacked -----------------------------------------------------------------
@pytest.mark.parametrize("listener,start,injected", (
    ("smtp", b"EHLO x\r\n|STARTTLS\r\n", b"MAIL FROM:<a@b.example>\r\n"),
    ("submission", b"EHLO x\r\n|STARTTLS\r\n", b"NOOP\r\n"),
    ("imap", b"a STARTTLS\r\n", b"b NOOP\r\n"),
    ("pop3", b"STLS\r\n", b"CAPA\r\n")))
def test_commands_behind_starttls(mail, listener, start, injected):
    """In one segment: the connection ends, and nothing injected is answered."""
    with socket.create_connection((HOST, mail.ports[listener]), timeout=60) as sock:
        stream = sock.makefile("rb")
        stream.readline()
        *before, upgrade = start.split(b"|")
        for line in before:
            sock.sendall(line)
            while stream.readline()[3:4] == b"-":
                pass
        sock.sendall(upgrade + injected)
        rest = stream.read()
        assert b"b OK" not in rest and b"UIDL" not in rest and rest.count(b"\n") <= 2, rest


def test_old_tls_is_refused(mail):
    """TLS 1.1 and 1.0 on a port with TLS from the first byte."""
    for version in ("-tls1", "-tls1_1"):
        done = run("openssl", "s_client", "-connect", f"{HOST}:{mail.ports['imaps']}", version,
                   "-cipher", "ALL:@SECLEVEL=0", check=False)
        assert done.returncode != 0, done.stdout
    for version in ("-tls1_2", "-tls1_3"):
        run("openssl", "s_client", "-connect", f"{HOST}:{mail.ports['imaps']}", version)
