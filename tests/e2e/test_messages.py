"""Messages of every kind: in by one client, out by another, byte for byte."""
import os
import smtplib

import pytest

from appliance import Appliance, PASSWORD
from clients import (ALICE, BOB, HOST, imap, imap_all, pop3, pop3_all, run, send_raw, smtp,
                     without_trace)
from letters import attachment, head, letters, text

LETTERS = letters()


@pytest.fixture(scope="module")
def mail():
    with Appliance(accounts=("alice", "bob", "carol", "dave", "erin", "frank")) as appliance:
        yield appliance


def complete(letter):
    """As SMTP and POP3 end it: with a line end."""
    if letter.endswith(b"\r\n"):
        return letter
    return letter + (b"\n" if letter.endswith(b"\r") else b"\r\n")


def wait_for(mail, login, count, mailbox="INBOX"):
    session = imap(mail, login=login)
    found = mail.wait_for(lambda: session.status(mailbox, "(MESSAGES)")[1][0] ==
                          b"%s (MESSAGES %d)" % (mailbox.encode(), count))
    session.logout()
    return found


def by_subject(messages):
    found = {}
    for message in messages:
        subject = message.split(b"Subject: ", 1)[1].split(b"\r\n")[0].decode()
        assert subject not in found
        found[subject] = message
    return found


# --- by SMTP ------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def delivered(mail):
    """Every letter sent to bob by port 25, and what IMAP gives of each."""
    with smtp(mail, "smtp", "starttls") as session:
        for letter in LETTERS.values():
            send_raw(session, "stranger@far.example", [BOB], complete(letter),
                     ("BODY=8BITMIME",))
    wait_for(mail, BOB, len(LETTERS))
    session = imap(mail, login=BOB)
    messages = imap_all(session)
    session.logout()
    return by_subject(messages.values())


@pytest.mark.parametrize("name", LETTERS)
def test_imap_gives_what_smtp_took(delivered, name):
    assert without_trace(delivered[name]) == complete(LETTERS[name])
    assert delivered[name].startswith(b"Return-Path: <stranger@far.example>\r\nReceived: from ")


def test_pop3_gives_the_same(mail, delivered):
    session = pop3(mail, login=BOB)
    assert by_subject(pop3_all(session)) == delivered
    sizes = [int(line.split()[1]) for line in session.list()[1]]
    assert sorted(sizes) == sorted(len(message) for message in delivered.values())
    session.quit()


def test_parts_are_the_whole(mail, delivered):
    """HEADER and TEXT together, and every slice of 7,001 bytes, give the message."""
    session = imap(mail, login=BOB)
    assert session.select(readonly=True)[0] == "OK"
    for uid, whole in imap_all(session).items():
        parts = [part[1] for part in session.uid(
            "FETCH", str(uid), "(BODY.PEEK[HEADER] BODY.PEEK[TEXT])")[1] if isinstance(part, tuple)]
        assert b"".join(parts) == whole
        pieces = b"".join(
            session.uid("FETCH", str(uid), f"(BODY.PEEK[]<{at}.7001>)")[1][0][1]
            for at in range(0, len(whole), 7001))
        assert pieces == whole
        size = session.uid("FETCH", str(uid), "(RFC822.SIZE)")[1][0]
        assert b"RFC822.SIZE %d" % len(whole) in size
    session.logout()


def test_mbsync_gives_the_same(mail, delivered, tmp_path):
    (tmp_path / "mail").mkdir()
    config = tmp_path / "mbsyncrc"
    config.write_text(
        f"IMAPStore far\nHost localhost\nPort {mail.ports['imaps']}\nUser {BOB}\n"
        f'Pass "{PASSWORD}"\nSSLType IMAPS\nCertificateFile {mail.certificate}\n\n'
        f"MaildirStore near\nPath {tmp_path}/mail/\nInbox {tmp_path}/mail/INBOX\n\n"
        "Channel all\nFar :far:\nNear :near:\nPatterns INBOX\nCreate Near\nSync Pull\n"
        "SyncState *\n")
    run("mbsync", "-c", str(config), "all")
    found = []
    for folder in ("new", "cur"):
        for entry in os.scandir(tmp_path / "mail" / "INBOX" / folder):
            with open(entry.path, "rb") as file:
                found.append(file.read().replace(b"\n", b"\r\n"))
    # mbsync adds a field of its own to find its messages again.
    cleaned = [message.split(b"X-TUID: ")[0] + message.split(b"X-TUID: ")[1].split(b"\r\n", 1)[1]
               if b"X-TUID: " in message else message for message in found]
    # It does not take a message whose header has no end.
    want = {name: m for name, m in delivered.items() if name != "header-only"}
    assert by_subject(cleaned) == want


def test_fetchmail_gives_the_same(mail, delivered, tmp_path):
    """By POP3 through its delivery agent, which appends to one file behind a mark."""
    agent = tmp_path / "agent"
    agent.write_text(f"#!/bin/sh\n(echo '=== mark'; cat) >> {tmp_path}/box\n")
    agent.chmod(0o700)
    config = tmp_path / "fetchmailrc"
    config.write_text(
        f'poll {HOST} service {mail.ports["pop3s"]} protocol pop3 auth password\n'
        f'user "{BOB}" password "{PASSWORD}" ssl sslcertfile {mail.certificate} '
        f'sslcommonname "mail.example.test" keep no rewrite mda "{agent}"\n')
    config.chmod(0o600)
    run("fetchmail", "--invisible", "-f", str(config), "--pidfile", f"{tmp_path}/pid", "--idfile",
        f"{tmp_path}/ids", "--norewrite", env={"HOME": str(tmp_path), "FETCHMAILHOME": str(tmp_path)})
    box = (tmp_path / "box").read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    found = by_subject(box.split(b"=== mark\r\n")[1:])
    assert set(found) == set(delivered)
    for name in ("plain", "eight-bit", "dots", "nested", "folded", "blank-lines"):
        assert found[name].endswith(delivered[name].split(b"\r\n\r\n", 1)[1]), name


@pytest.mark.parametrize("listener,scheme", (("imaps", "imaps"), ("pop3s", "pop3s")))
def test_curl_gives_the_same(mail, delivered, listener, scheme):
    where = "INBOX;MAILINDEX=" if scheme == "imaps" else ""
    for name in ("plain", "dots", "long-lines"):
        number = list(delivered).index(name) + 1
        done = run("curl", "-sS", "-k", f"{scheme}://{HOST}:{mail.ports[listener]}/{where}{number}",
                   "-u", f"{BOB}:{PASSWORD}")
        assert done.stdout == delivered[name]


# --- other ways in ------------------------------------------------------------------------------
def test_append_and_back(mail):
    """By IMAP APPEND nothing is added: also messages that end in the middle of a line."""
    session = imap(mail, login="carol@example.test")
    appended = [*LETTERS.values(), text("no-end", b"no line end"), head("odd")[:-2], b"x",
                text("cr-at-the-end", b"last\r")]
    for letter in appended:
        session.literal = letter
        status, answer = session._simple_command("APPEND", "Archive", "(\\Seen)")
        assert status == "OK", answer
    assert list(imap_all(session, "Archive").values()) == appended
    session.select("Archive")
    assert session.copy("1:*", "INBOX")[0] == "OK"
    assert list(imap_all(session).values()) == appended
    session.logout()
    maildrop = pop3(mail, login="carol@example.test")
    assert pop3_all(maildrop) == [complete(letter) for letter in appended]
    maildrop.quit()


def test_chunks(mail):
    """BDAT: no stuffing, any split, and a message that ends without a line end."""
    letter = text("chunks", b".\r\n.dots\r\n" + (b"z" * 50_000 + b"\r\n") * 2 + b"no line end")
    with smtp(mail, "submissions", "implicit", login=ALICE) as session:
        assert session.mail(ALICE, ["BODY=8BITMIME"])[0] == 250
        assert session.rcpt("dave@example.test")[0] == 250
        pieces = [letter[at:at + 33_333] for at in range(0, len(letter), 33_333)]
        for number, piece in enumerate(pieces):
            last = b" LAST" if number == len(pieces) - 1 else b""
            session.sock.sendall(b"BDAT %d%s\r\n" % (len(piece), last) + piece)
            code, answer = session.getreply()
            assert code == 250, answer
    wait_for(mail, "dave@example.test", 1)
    session = imap(mail, login="dave@example.test")
    assert [without_trace(m) for m in imap_all(session).values()] == [letter]
    session.logout()


def test_big_attachment(mail):
    """25 MB in by submission, out by IMAP and POP3; and by APPEND."""
    letter = attachment(25_000_000 * 3 // 4)
    with smtp(mail, "submission", "starttls", login=ALICE) as session:
        send_raw(session, ALICE, ["erin@example.test"], letter)
    wait_for(mail, "erin@example.test", 1)
    session = imap(mail, login="erin@example.test")
    assert [without_trace(m) for m in imap_all(session).values()] == [letter]
    assert session.append("Archive", None, None, letter)[0] == "OK"
    assert list(imap_all(session, "Archive").values()) == [letter]
    session.logout()
    maildrop = pop3(mail, login="erin@example.test")
    assert [without_trace(m) for m in pop3_all(maildrop)] == [letter]
    maildrop.quit()


def test_too_big(mail):
    """Refused at MAIL by the size it announces, and after DATA by the size it has."""
    with smtp(mail, "smtp", "clear") as session:
        code, answer = session.mail("a@far.example", ["SIZE=60000000"])
        assert code == 552 and answer.startswith(b"5.3.4")


def test_neomutt(mail, tmp_path):
    """A client composes: text, an attachment with a name in UTF-8, a subject in UTF-8."""
    (tmp_path / "größe.bin").write_bytes(bytes(range(256)) * 40)
    config = tmp_path / "muttrc"
    config.write_text(
        f'set smtp_url="smtps://{HOST}:{mail.ports["submissions"]}"\n'
        f'set smtp_user="{ALICE}"\nset smtp_pass="{PASSWORD}"\nset ssl_starttls=no\n'
        f'set ssl_verify_host=no\nset ssl_verify_dates=no\n'
        f'set certificate_file="{mail.certificate}"\nset from="{ALICE}"\nset realname="Alice"\n'
        "set record=\"\"\nset send_charset=\"utf-8\"\nset charset=\"utf-8\"\n")
    run("neomutt", "-F", str(config), "-n", "-s", "Grüße", "-a", str(tmp_path / "größe.bin"), "--",
        "frank@example.test", stdin="Schöne Grüße\n".encode(),
        env={"HOME": str(tmp_path), "LC_ALL": "C.UTF-8", "TERM": "dumb"})
    wait_for(mail, "frank@example.test", 1)
    session = imap(mail, login="frank@example.test")
    message = next(iter(imap_all(session).values()))
    session.select()
    assert session.search("UTF-8", "SUBJECT", '"Gr\u00fc\u00dfe"'.encode())[0] == "OK"
    structure = session.fetch("1", "(BODYSTRUCTURE)")[1][0]
    assert b"Return-Path: <alice@example.test>" in message
    assert b'"ATTACHMENT"' in structure.upper()
    part = session.fetch("1", "(BINARY.PEEK[2])")[1][0][1]
    assert part == bytes(range(256)) * 40
    session.logout()


def test_mbsync_pushes(mail, tmp_path):
    """A client's own folder goes up by APPEND and comes back in another place."""
    for folder in ("INBOX/cur", "INBOX/new", "INBOX/tmp"):
        (tmp_path / "up" / folder).mkdir(parents=True)
    (tmp_path / "down").mkdir()
    names = ("plain", "eight-bit", "nested", "many-fields", "dots")
    for number, name in enumerate(names):
        (tmp_path / "up" / "INBOX" / "cur" / f"{number}.x:2,S").write_bytes(
            LETTERS[name].replace(b"\r\n", b"\n"))
    store = (f"IMAPStore far\nHost localhost\nPort {mail.ports['imap']}\nUser dave@example.test\n"
             f'Pass "{PASSWORD}"\nSSLType STARTTLS\nCertificateFile {mail.certificate}\n\n')
    for side, ways in (("up", "Sync Push\nCreate Far"), ("down", "Sync Pull\nCreate Near")):
        config = tmp_path / f"{side}.rc"
        config.write_text(
            f"{store}MaildirStore near\nPath {tmp_path}/{side}/\nInbox {tmp_path}/{side}/INBOX\n\n"
            f"Channel all\nFar :far:Sent\nNear :near:INBOX\n{ways}\nSyncState *\n")
        run("mbsync", "-c", str(config), "all")
    found = set()
    for folder in ("new", "cur"):
        for entry in os.scandir(tmp_path / "down" / "INBOX" / folder):
            assert entry.name.endswith(":2,S")
            with open(entry.path, "rb") as file:
                lines = file.read().split(b"\n")
            found.add(b"\r\n".join(line for line in lines if not line.startswith(b"X-TUID: ")))
    assert found == {LETTERS[name] for name in names}


def test_smtplib_as_people_use_it(mail):
    """send_message, several recipients, one of them unknown: the others get it, once each."""
    from email.message import EmailMessage
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = ALICE, "list@example.test", "three"
    message.set_content("Grüße an alle\n")
    people = ["dave@example.test", "nobody@example.test", "erin+news@example.test",
              "DAVE@EXAMPLE.TEST"]
    with smtp(mail, "submission-alt", "starttls", login=ALICE) as session:
        refused = session.send_message(message, to_addrs=people)
    assert list(refused) == ["nobody@example.test"]
    assert refused["nobody@example.test"][0] == 550

    def subjects(login):
        session = imap(mail, login=login)
        found = [m for m in imap_all(session).values() if b"Subject: three" in m]
        session.logout()
        return found

    for login in ("dave@example.test", "erin@example.test"):
        mail.wait_for(lambda who=login: subjects(who))
        assert len(subjects(login)) == 1, login


# --- internationalized mail (RFC 6531, 6855, 6856, 6858) ----------------------------------------
UTF8_LETTER = ("From: Jürgen <jürgen@bücher.example>\r\nTo: <ivy@example.test>\r\n"
               "Subject: Über alles\r\nX-Any: ü\r\n\r\nKörper\r\n.x\r\n").encode()


@pytest.fixture(scope="module")
def utf8_mail(mail):
    """One message with an address in UTF-8, in by SMTP."""
    ivy = "ivy@example.test"
    mail.add_account(ivy)
    with smtp(mail, "smtp", "starttls") as session:
        session.command_encoding = "utf-8"
        send_raw(session, "jürgen@bücher.example", [ivy], UTF8_LETTER, ("BODY=8BITMIME", "SMTPUTF8"))
    wait_for(mail, ivy, 1)
    return ivy


def test_utf8_to_those_who_read_it(mail, utf8_mail):
    session = imap(mail, login=utf8_mail)
    session._get_capabilities()             # imaplib asks only before the login
    assert session.enable("UTF8=ACCEPT")[0] == "OK"
    got = imap_all(session)[1]
    assert without_trace(got) == UTF8_LETTER
    assert "Return-Path: <jürgen@xn--bcher-kva.example>".encode() in got or \
        "Return-Path: <jürgen@bücher.example>".encode() in got
    session.logout()
    session = pop3(mail)
    session.utf8()
    session.user(utf8_mail)
    session.pass_(PASSWORD)
    assert pop3_all(session) == [got]
    session.quit()


def test_utf8_to_those_who_do_not(mail, utf8_mail):
    session = imap(mail, login=utf8_mail)
    got = imap_all(session)[1]
    head, _, body = got.partition(b"\r\n\r\n")
    assert head.isascii() and "Körper\r\n.x\r\n".encode() == body
    assert b"<invalid@internationalized-address.invalid>" in head and b"X-Any" not in head
    size = session.fetch("1", "(RFC822.SIZE)")[1][0]
    assert size == b"1 (RFC822.SIZE %d)" % len(got)
    session.logout()
    session = pop3(mail, login=utf8_mail)
    assert pop3_all(session) == [got]
    top = b"".join(line + b"\r\n" for line in session.top(1, 1)[1])
    assert top == head + "\r\n\r\nKörper\r\n".encode()
    session.quit()


def test_a_large_utf8_message(mail):
    """More than is looked at in one step: the same by IMAP and POP3, whole and downgraded."""
    judy = "judy@example.test"
    mail.add_account(judy)
    noise = os.urandom(1200000).hex().encode()
    letter = UTF8_LETTER + b"".join(noise[n:n + 76] + b"\r\n" for n in range(0, len(noise), 76))
    with smtp(mail, "smtp", "starttls") as session:
        session.command_encoding = "utf-8"
        send_raw(session, "jürgen@bücher.example", [judy], letter, ("BODY=8BITMIME", "SMTPUTF8"))
    wait_for(mail, judy, 1)
    found = {}
    for is_utf8 in (True, False):
        session = imap(mail, login=judy)
        if is_utf8:
            session._get_capabilities()
            session.enable("UTF8=ACCEPT")
        got = imap_all(session)[1]
        assert session.fetch("1", "(RFC822.SIZE)")[1][0] == b"1 (RFC822.SIZE %d)" % len(got)
        session.logout()
        session = pop3(mail)
        if is_utf8:
            session.utf8()
        session.user(judy)
        session.pass_(PASSWORD)
        assert pop3_all(session) == [got]
        session.quit()
        found[is_utf8] = got
    assert without_trace(found[True]) == letter
    head, _, body = found[False].partition(b"\r\n\r\n")
    assert head.isascii() and body == letter.partition(b"\r\n\r\n")[2]
