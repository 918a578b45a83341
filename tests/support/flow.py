"""Mail that flows while something is broken, and the ledger of what was promised."""
import base64
import os
import poplib
import re
import smtplib
import threading

from appliance import PASSWORD, tls_context

GONE = (OSError, EOFError, smtplib.SMTPException, poplib.error_proto)
TIMEOUT = 20


class Senders:
    """with Senders(appliance, to): threads that send messages, each with a number of its own, and
    write down those that were accepted. A number is never sent twice."""

    def __init__(self, appliance, recipients, count=4, size=2000, first=0):
        self.appliance, self.recipients = appliance, recipients
        self.size = size
        self.lock = threading.Lock()
        self.next = first
        self.accepted = {to: set() for to in recipients}
        self.refused = {}
        self.is_over = threading.Event()
        self.threads = [threading.Thread(target=self.run) for _ in range(count)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *why):
        self.is_over.set()
        for thread in self.threads:
            thread.join(90)
            assert not thread.is_alive()

    def take_number(self):
        with self.lock:
            self.next += 1
            return self.next

    def run(self):
        while not self.is_over.is_set():
            try:
                with smtplib.SMTP("127.0.0.1", self.appliance.ports["smtp"],
                                  timeout=TIMEOUT) as smtp:
                    while not self.is_over.is_set():
                        self.send(smtp)
            except GONE:
                self.is_over.wait(0.02)

    def send(self, smtp):
        number = self.take_number()
        body = f"Subject: number {number}.\r\n\r\n" + base64.encodebytes(
            os.urandom(self.size * 3 // 4)).decode().replace("\n", "\r\n")
        refused = {}
        try:
            refused = smtp.sendmail(f"sender-{number}@client.example", self.recipients, body)
        except smtplib.SMTPResponseException as error:
            refused = {to: (error.smtp_code, b"") for to in self.recipients}
        except smtplib.SMTPRecipientsRefused as error:
            refused = error.recipients
        with self.lock:
            for to in self.recipients:
                if to in refused:
                    self.refused[number] = refused[to][0]
                else:
                    self.accepted[to].add(number)

    def count(self):
        with self.lock:
            return min(len(numbers) for numbers in self.accepted.values())

    def wait_for(self, count):
        """Until count more messages were accepted."""
        goal = self.count() + count
        self.appliance.wait_for(lambda: self.count() >= goal, 120)


def pop(appliance, address, password=PASSWORD):
    session = poplib.POP3_SSL("127.0.0.1", appliance.ports["pop3s"], context=tls_context(),
                              timeout=TIMEOUT)
    session.user(address)
    session.pass_(password)
    return session


def number_at(session, i):
    head = b"\n".join(session.top(i, 0)[1])
    return int(re.search(rb"^Subject: number (\d+)\.$", head, re.M).group(1))


def numbers_of(appliance, address):
    """The numbers of all messages in an INBOX, in order, and the size of each."""
    session = pop(appliance, address)
    found = [number_at(session, i) for i in range(1, session.stat()[0] + 1)]
    session.quit()
    return found


def wait_until_delivered(appliance):
    """Nothing local waits in the queue any more."""
    def is_empty():
        done = appliance.run_ctl("queue", "list")
        return done.returncode == 0 and b'"class": "local"' not in done.stdout

    appliance.wait_for(is_empty, 120)


def check_ledger(accepted, found):
    assert len(found) == len(set(found)), "delivered twice: " + str(
        sorted(n for n in set(found) if found.count(n) > 1))
    missing = accepted - set(found)
    assert not missing, f"acknowledged and lost: {sorted(missing)}"
