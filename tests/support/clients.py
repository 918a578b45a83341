"""Mail clients that others wrote, each given an appliance: Python's libraries and programs."""
import imaplib
import os
import poplib
import smtplib
import subprocess

from appliance import PASSWORD, tls_context

HOST = "127.0.0.1"
ALICE, BOB = "alice@example.test", "bob@example.test"
# imaplib refuses lines above a million bytes, poplib above 2,048: not what is tested here.
imaplib._MAXLINE = 100_000_000
poplib._MAXLINE = 100_000_000


def run(*command, stdin=b"", check=True, env=None):
    done = subprocess.run(command, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          check=False, timeout=120, env={**os.environ, **(env or {})})
    if check:
        assert done.returncode == 0, (command, done.stdout[-4000:])
    return done


# --- SMTP ---------------------------------------------------------------------------------------
def smtp(appliance, listener, stance, login=None):
    """A session after EHLO, secured as the stance says (implicit, starttls, clear)."""
    port = appliance.ports[listener]
    if stance == "implicit":
        session = smtplib.SMTP_SSL(HOST, port, timeout=60, context=tls_context())
    else:
        session = smtplib.SMTP(HOST, port, timeout=60)
    session.ehlo("client.example")
    if stance == "starttls":
        session.starttls(context=tls_context())
        session.ehlo("client.example")
    if login:
        session.login(login, PASSWORD)
    return session


def send_raw(session, sender, recipients, message, options=()):
    """One message with exactly these bytes: smtplib's data() would change lone CR and LF."""
    code, text = session.mail(sender, list(options))
    assert code == 250, text
    for recipient in recipients:
        code, text = session.rcpt(recipient)
        assert code == 250, text
    code, text = session.docmd("DATA")
    assert code == 354, text
    stuffed = b"".join(b"." + line if line.startswith(b".") else line
                       for line in message.splitlines(keepends=True)) \
        if b"\r" not in message.replace(b"\r\n", b"") else message.replace(b"\r\n.", b"\r\n..")
    session.sock.sendall(stuffed + b".\r\n")
    code, text = session.getreply()
    assert code == 250, text
    return text


# --- IMAP ---------------------------------------------------------------------------------------
def imap(appliance, listener="imaps", stance="implicit", login=None):
    port = appliance.ports[listener]
    if stance == "implicit":
        session = imaplib.IMAP4_SSL(HOST, port, ssl_context=tls_context(), timeout=60)
    else:
        session = imaplib.IMAP4(HOST, port, timeout=60)
    if stance == "starttls":
        session.starttls(ssl_context=tls_context())
    if login:
        session.login(login, PASSWORD)
    return session


def imap_all(session, mailbox="INBOX"):
    """Every message of a mailbox, by UID."""
    status, found = session.select(mailbox, readonly=True)
    assert status == "OK", found
    if int(found[0]) == 0:
        return {}
    status, parts = session.uid("FETCH", "1:*", "(BODY.PEEK[])")
    assert status == "OK", parts
    return {int(part[0].split(b"UID ")[1].split()[0]): part[1]
            for part in parts if isinstance(part, tuple)}


# --- POP3 ---------------------------------------------------------------------------------------
def pop3(appliance, listener="pop3s", stance="implicit", login=None):
    port = appliance.ports[listener]
    if stance == "implicit":
        session = poplib.POP3_SSL(HOST, port, context=tls_context(), timeout=60)
    else:
        session = poplib.POP3(HOST, port, timeout=60)
    if stance == "starttls":
        session.stls(context=tls_context())
    if login:
        session.user(login)
        session.pass_(PASSWORD)
    return session


def pop3_all(session):
    """Every message of the maildrop: poplib gives lines without their ends."""
    count = session.stat()[0]
    return [b"".join(line + b"\r\n" for line in session.retr(i + 1)[1]) for i in range(count)]


# --- what a message went through ----------------------------------------------------------------
def without_trace(message, newline=b"\r\n"):
    """The message behind the fields that its way here put in front."""
    lines = message.split(newline)
    at = 0
    while lines[at].split(b":")[0].lower() in (b"return-path", b"received", b"delivered-to"):
        at += 1
        while lines[at][:1] in (b" ", b"\t"):
            at += 1
    assert at >= 2, message[:400]
    return newline.join(lines[at:])
