"""The sendmail command: what cron and scripts send arrives, and exit statuses say what happened."""
import os
import poplib
import subprocess

import pytest

from appliance import BIN, Appliance, PASSWORD, tls_context

ALICE, BOB = "alice@example.test", "bob@example.test"


@pytest.fixture(scope="module")
def mail():
    with Appliance() as appliance:
        yield appliance


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("bin") / "sendmail"
    os.symlink(f"{BIN}/mailsteadctl", path)
    return path


@pytest.fixture
def send(mail, program):
    def run(text, *words):
        return subprocess.run([program, "-C", mail.conf, *words], input=text,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
                              timeout=120)
    return run


def take(mail, address, count=1):
    """Waits for count messages, takes them out of the maildrop."""
    found = []

    def look():
        session = poplib.POP3_SSL("127.0.0.1", mail.ports["pop3s"], context=tls_context())
        session.user(address)
        session.pass_(PASSWORD)
        for number in range(1, session.stat()[0] + 1):
            found.append(b"\r\n".join(session.retr(number)[1]) + b"\r\n")
            session.dele(number)
        session.quit()
        return len(found) >= count

    mail.wait_for(look)
    assert len(found) == count
    return found[0] if count == 1 else found


def body_of(message):
    return message.split(b"\r\n\r\n", 1)[1]


def header_of(message):
    return message.split(b"\r\n\r\n", 1)[0].decode() + "\r\n"


def test_what_cron_sends(mail, send):
    text = b"From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@host> true\n\nline one\n.line\n"
    done = send(text, "-FCronDaemon", "-i", "-odi", "-oem", "-oi", ALICE)
    assert (done.returncode, done.stderr) == (0, b"")
    got = take(mail, ALICE)
    assert body_of(got) == b"line one\r\n.line\r\n"
    header = header_of(got)
    assert "Subject: Cron <root@host> true\r\n" in header
    assert header.count("From:") == 1 and "Date: " in header and "Message-ID: <" in header


def test_recipients_of_the_header_and_nobody_sees_bcc(mail, send):
    done = send(b"From: Robot <robot@example.test>\nTo: Alice <alice@example.test>,\n"
                b" group: alice@example.test;\nBcc: bob@example.test\nSubject: hello\n\ntext", "-t")
    assert (done.returncode, done.stderr) == (0, b"")
    for address in (ALICE, BOB):
        got = take(mail, address)
        assert "\r\nbcc:" not in header_of(got).lower() and "To: Alice" in header_of(got)
        assert body_of(got) == b"text\r\n"


@pytest.mark.parametrize("words, body", [
    ((), b"one\r\n"), (("-i",), b"one\r\n.\r\ntwo\r\n"), (("-oi",), b"one\r\n.\r\ntwo\r\n")])
def test_a_dot_ends_the_message_unless_told_otherwise(mail, send, words, body):
    assert send(b"Subject: x\n\none\n.\ntwo\n", *words, ALICE).returncode == 0
    assert body_of(take(mail, ALICE)) == body


@pytest.mark.parametrize("text, body", [
    (b"no header at all\nsecond: line\n", b"no header at all\r\nsecond: line\r\n"),
    (b"\nempty header\n", b"empty header\r\n"),
    (b"", b""),
    (b"Subject: only a header\n", b""),
    (b"Subject: x\r\n\r\nCRLF\r\nLF\nCR\rend", b"CRLF\r\nLF\r\nCR\r\nend\r\n"),
    ("Subject: x\n\nGrüße\n".encode(), "Grüße\r\n".encode())])
def test_texts_of_all_kinds(mail, send, text, body):
    done = send(text, "-i", "-f", "robot@example.test", ALICE)
    assert (done.returncode, done.stderr) == (0, b"")
    got = take(mail, ALICE)
    assert body_of(got) == body
    assert "From: " in header_of(got) and "<robot@example.test>\r\n" in header_of(got)
    assert "Return-Path: <robot@example.test>\r\n" in header_of(got)


def test_null_sender(mail, send):
    assert send(b"Subject: x\n\n", "-f", "<>", ALICE).returncode == 0
    assert "Return-Path: <>\r\n" in header_of(take(mail, ALICE))


def test_a_refused_recipient_is_named_the_others_get_it(mail, send):
    done = send(b"Subject: x\n\ntext\n", "nobody@example.test", ALICE)
    assert done.returncode == 67
    assert b"nobody@example.test: 550 " in done.stderr
    take(mail, ALICE)
    done = send(b"Subject: x\n\ntext\n", "someone@elsewhere.test")
    assert done.returncode == 67 and b"someone@elsewhere.test: 55" in done.stderr


@pytest.mark.parametrize("words", [
    ("-f", "a@b\r\nRCPT TO:<bob@example.test>", ALICE), ("-f", "a b@c d", ALICE),
    ("bob@example.test>\r\nDATA", ALICE), ("<bob@example.test>", ALICE)])
def test_no_command_comes_in_through_an_address(mail, send, words):
    done = send(b"Subject: x\n\ntext\n", *words)
    assert done.returncode == 67 and done.stderr.startswith(b"sendmail: ")
    assert send(b"Subject: y\n\ntext\n", BOB).returncode == 0
    assert "Subject: y" in header_of(take(mail, BOB))


def test_wrong_use(mail, send):
    assert send(b"", "-bs").returncode == 64
    assert send(b"Subject: x\n\n").returncode == 64
    assert send(b"Subject: x\n\n", "-f").returncode == 64
    assert send(b"Subject: x\n\n", "-t").returncode == 64
    assert send(b"", "-bi").returncode == 0
    assert send(b"", "-q").returncode == 0


def test_no_server_means_try_again(program, tmp_path, mail):
    conf = tmp_path / "mailstead.conf"
    text = open(mail.conf, encoding="utf-8").read()
    conf.write_text(text.replace(f'port = "{mail.ports["smtp"]}"', 'port = "1"'))
    done = subprocess.run([program, "-C", conf, ALICE], input=b"Subject: x\n\n",
                          stderr=subprocess.PIPE, check=False, timeout=120)
    assert done.returncode == 75 and b"Connection refused" in done.stderr


def test_newaliases_is_content(program, tmp_path):
    os.symlink(f"{BIN}/mailsteadctl", tmp_path / "newaliases")
    assert subprocess.run([tmp_path / "newaliases"], check=False).returncode == 0
