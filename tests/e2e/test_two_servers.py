"""Two appliances mail each other while one of them is killed at random: all arrives, and at most
one message twice for each kill. Over one connection each way, since each connection has a message
that was taken and not yet written down. MS_MAILS=10000 in make check-long."""
import collections
import os
import poplib
import random
import smtplib
import threading
import time

from appliance import PASSWORD, Appliance, free_ports, tls_context
from internet import Dns

MAILS = int(os.environ.get("MS_MAILS", "300"))
KILLS = int(os.environ.get("MS_KILLS", max(3, MAILS // 400)))
PROGRAMS = ("smtpd-send", "smtpd-local", "smtpd-receive", "smtpd", "authd")


class Server(Appliance):
    """name.test, reached by others at an address of its own, at a port that both share."""

    def __init__(self, name, address, port, dns):
        super().__init__(accounts=(), listeners={"smtp": {"address": address}}, settings={
            "server.hostname": f"mx1.{name}.test", "dns.server": dns.address,
            "dns.trust_anchor": "none", "retry.schedule": "1s", "outbound.bind": address,
            "outbound.port": str(port), "outbound.connections_per_domain": "1"})
        self.name, self.port = name, port
        dns.mail_domain(f"{name}.test", address)

    def pick_ports(self):
        super().pick_ports()
        self.ports["smtp"] = self.port
        self.write_conf()

    def __enter__(self):
        super().__enter__()
        self.ctl("domain", "add", f"{self.name}.test")
        self.add_account(f"u@{self.name}.test")
        return self


def connect(box, sender):
    while True:
        try:
            client = smtplib.SMTP_SSL("127.0.0.1", box.ports["submissions"],
                                      context=tls_context(), timeout=30)
            client.login(sender, PASSWORD)
            return client
        except (OSError, smtplib.SMTPException):
            time.sleep(0.05)


def submit(box, sender, rcpt, numbers, sent):
    """Each until it was taken. A reply that does not come leaves a message in doubt: it is sent
    again, and counted as sent twice."""
    client = connect(box, sender)
    for number in numbers:
        subject = f"{box.name} {number}"
        is_taken = False
        while not is_taken:
            try:
                client.sendmail(sender, [rcpt], f"Subject: {subject}\r\n\r\nhello\r\n")
                sent[subject] += 1
                is_taken = True
            except smtplib.SMTPResponseException:
                time.sleep(0.05)
            except (OSError, smtplib.SMTPException):
                sent[subject] += 1
                client = connect(box, sender)


def inbox(box, user):
    found = collections.Counter()
    client = poplib.POP3_SSL("127.0.0.1", box.ports["pop3s"], context=tls_context(), timeout=60)
    client.user(user)
    client.pass_(PASSWORD)
    for i in range(len(client.list()[1])):
        for line in client.top(i + 1, 0)[1]:
            if line.startswith(b"Subject: "):
                found[line[9:].decode()] += 1
    client.quit()
    return found


def test_all_arrives_whoever_is_killed():
    chance = random.Random(int(os.environ.get("SEED", "7")))
    dns, port = Dns(), free_ports(1)[0]
    sent, half, threads = collections.Counter(), MAILS // 2, []
    with Server("first", "127.0.4.1", port, dns) as first, \
            Server("second", "127.0.4.2", port, dns) as second:
        for box, other in ((first, second), (second, first)):
            for part in range(4):
                threads.append(threading.Thread(target=submit, args=(
                    box, f"u@{box.name}.test", f"u@{other.name}.test", range(part, half, 4), sent)))
        for thread in threads:
            thread.start()
        kills = 0
        while any(t.is_alive() for t in threads) or kills < KILLS:
            time.sleep(chance.uniform(0.2, 1.5))
            if kills < KILLS:
                program = chance.choice(PROGRAMS)
                if program in second.pids():
                    second.kill(program)
                    kills += 1
        for thread in threads:
            thread.join()
        wanted = {f"{name} {i}" for name in ("first", "second") for i in range(half)}

        def everything():
            try:
                got = inbox(first, "u@first.test") + inbox(second, "u@second.test")
            except (OSError, poplib.error_proto):
                return None
            return got if set(got) >= wanted else None
        got = first.wait_for(everything, 60 + MAILS / 20)
        # A submission in doubt was sent again on purpose: that is not the server's doing.
        twice = sum(n - sent[key] for key, n in got.items() if n > sent[key])
        assert set(got) == wanted and twice <= kills, (twice, kills)
        print(f"{MAILS} messages, {kills} kills, {twice} twice")
    dns.close()
