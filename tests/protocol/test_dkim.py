"""Signing keys and signatures: what leaves verifies with implementations that nobody here wrote; and
the DNS records that a domain needs."""
import email
import json
import os
import re
import shutil
import smtplib
import subprocess
import tempfile
import uuid

import dkim
import pytest

from appliance import BIN, PASSWORD, Appliance, tls_context
from internet import A, CNAME, MX, PTR, TXT, Dns, Sink, wire_name

SRV, TLSA, CAA = 33, 52, 257
OWN = "127.0.1.1"


class World:
    def __init__(self):
        self.dns = Dns()
        self.sinks = {}
        self.first = Sink("127.0.2.1", 0)
        self.next, self.last = 2, None
        self.box = Appliance(accounts=("alice",), settings={
            "dns.trust_anchor": "none", "retry.schedule": "1s", "dns.server": self.dns.address,
            "outbound.port": str(self.first.port), "web.port": "0", "outbound.bind": OWN})

    def sink(self, **options):
        """A domain of its own, and its server."""
        name = f"d{uuid.uuid4().hex[:8]}.test"
        sink = Sink(f"127.0.2.{self.next}", self.first.port, **options)
        self.next += 1
        self.sinks[name] = sink
        self.dns.mail_domain(name, sink.address)
        return name, sink

    def submit(self, rcpt, text, sender="alice@example.test", options=()):
        with smtplib.SMTP_SSL("127.0.0.1", self.box.ports["submissions"],
                              context=tls_context()) as client:
            client.login("alice@example.test", PASSWORD)
            client.sendmail(sender, [rcpt], text, mail_options=options)

    def send(self, text, options=(), **sink_options):
        """What came out at the other side."""
        domain, sink = self.sink(**sink_options)
        self.submit(f"bob@{domain}", text, options=options)
        self.last = self.box.wait_for(lambda: sink.messages)[0]
        return self.last.data

    def keys(self, state=None):
        return [k for k in self.box.ctl("dkim", "list", "example.test")
                if state in (None, k["state"])]

    def publish(self, *purposes):
        """What domain dns says into DNS; of these purposes only."""
        for row in self.box.ctl("domain", "dns", "example.test"):
            if row["name"] and (not purposes or row["purpose"] in purposes):
                name, kind, data = record(row)
                self.dns.records.setdefault((name, kind), [])
                if data not in self.dns.records[(name, kind)]:
                    self.dns.records[(name, kind)].append(data)

    def check(self):
        done = self.box.run_ctl("domain", "dns", "example.test", "--check")
        rows = json.loads(done.stdout)
        return done.returncode, {r["purpose"]: r for r in rows}


def record(row):
    name, value = row["name"].rstrip("."), row["value"]
    if row["type"] == "MX":
        preference, host = value.split()
        return name, MX, (int(preference), host.rstrip("."))
    if row["type"] == "TXT":
        return name, TXT, value.encode()
    if row["type"] == "A":
        return name, A, value
    if row["type"] == "PTR":
        return name, PTR, value.rstrip(".")
    if row["type"] == "CNAME":
        return name, CNAME, value.rstrip(".")
    if row["type"] == "SRV":
        priority, weight, port, host = value.split()
        return name, SRV, b"".join(int(n).to_bytes(2, "big") for n in (priority, weight, port)) + \
            wire_name(host)
    if row["type"] == "TLSA":
        usage, selector, matching, data = value.split()
        return name, TLSA, bytes([int(usage), int(selector), int(matching)]) + bytes.fromhex(data)
    flags, tag, text = value.split(" ", 2)
    return name, CAA, bytes([int(flags), len(tag)]) + tag.encode() + text.strip('"').encode()


@pytest.fixture(scope="module")
def world():
    made = World()
    with made.box:
        made.box.wait_for(lambda: made.keys("current"))
        made.publish("dkim")
        yield made
    made.dns.close()
    for sink in [made.first, *made.sinks.values()]:
        sink.close()


def signatures(message):
    """d=, s= and a= of each signature."""
    found = []
    for value in email.message_from_bytes(message).get_all("DKIM-Signature", []):
        tags = dict(re.sub(r"\s+", "", tag).split("=", 1) for tag in value.split(";"))
        found.append((tags["d"], tags["s"], tags["a"]))
    return found


def verified(world, message):
    """Which of its signatures python3-dkim finds good."""
    def look_up(name, timeout=5):
        return world.dns.records.get((name.decode().rstrip("."), TXT), [None])[0]

    def verify(i):
        try:
            return dkim.DKIM(message).verify(idx=i, dnsfunc=look_up)
        except dkim.ValidationError:
            return False
    return [verify(i) for i in range(len(signatures(message)))]


MESSAGES = {
    "plain": "From: Alice <alice@example.test>\r\nTo: bob@far.test\r\nSubject: test\r\n"
             "Date: Wed, 1 Jan 2025 00:00:00 +0000\r\nMessage-ID: <1@example.test>\r\n\r\nhello\r\n",
    "no body": "From: alice@example.test\r\nSubject: nothing\r\n\r\n",
    "empty lines": "From: alice@example.test\r\nSubject: x\r\n\r\n\r\n\r\na  b\t \r\n\r\n \r\n\r\n",
    "dots": "From: alice@example.test\r\nSubject: x\r\n\r\n.\r\n..\r\n.a\r\n",
    "folded": "From: \"A,\r\n\tB\" <alice@example.test>\r\nSubject:   a \r\n\t  b\r\n c\r\n"
              "Cc: a@b.test,\r\n c@d.test\r\nTo: x@y.test\r\nReply-To: r@example.test\r\n\r\nx\r\n",
    "long header": "From: alice@example.test\r\nReferences: " +
                   "\r\n ".join(f"<{i}@example.test>" for i in range(2000)) + "\r\n\r\nx\r\n",
    "large": "From: alice@example.test\r\nSubject: large\r\n\r\n" +
             "".join(f"line {i} \t of many\r\n.\r\n" for i in range(20000)),
    "no end": "From: alice@example.test\r\nSubject: x\r\n\r\nends without a line end",
}


@pytest.mark.parametrize("name", MESSAGES)
def test_signatures_verify(world, name):
    message = world.send(MESSAGES[name])
    keys = world.keys("current")
    assert sorted(signatures(message)) == sorted(
        ("example.test", k["selector"], k["algorithm"]) for k in keys)
    assert {k["algorithm"] for k in keys} == {"rsa-sha256", "ed25519-sha256"}
    assert int(re.search(r"SIZE=(\d+)", world.last.mail_options)[1]) == len(message)
    assert verified(world, message) == [True, True]


def test_a_changed_message_does_not_verify(world):
    message = world.send(MESSAGES["plain"])
    assert verified(world, message.replace(b"hello", b"hallo")) == [False, False]
    assert verified(world, b"From: eve@evil.test\r\n" + message) == [False, False]
    assert verified(world, b"Subject: other\r\n" + message) == [False, False]
    assert verified(world, message.replace(b"Subject: test", b"Subject:  test ")) == [True, True]


@pytest.mark.parametrize("extensions", [["PIPELINING"], ["PIPELINING", "CHUNKING", "8BITMIME"],
                                        ["8BITMIME"]])
@pytest.mark.parametrize("size", [10, 9000])
def test_what_is_signed_is_what_leaves(world, extensions, size):
    """Text of 8 bits is signed as it goes out, converted or not, with DATA and BDAT."""
    text = "From: alice@example.test\r\nMIME-Version: 1.0\r\n" \
        "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + \
        "Gr\u00fc\u00dfe aus K\u00f6ln\r\n" * size
    message = world.send(text.encode(), options=["BODY=8BITMIME"], extensions=extensions)
    assert verified(world, message) == [True, True]
    assert ("8BITMIME" in extensions) == any(byte > 127 for byte in message)


def test_opendkim_finds_them_good(world):
    message = world.send(MESSAGES["folded"])
    with tempfile.TemporaryDirectory(prefix="mailstead-opendkim-") as folder:
        with open(f"{folder}/dns", "w", encoding="ascii") as dns:
            for (name, kind), values in world.dns.records.items():
                if kind == TXT and "_domainkey" in name:
                    dns.write(f"{name} {values[0].decode()}\n")
        with open(f"{folder}/conf", "w", encoding="ascii") as conf:
            conf.write(f"Mode v\nTestDNSData {folder}/dns\n")
        with open(f"{folder}/message", "wb") as text:
            text.write(message.replace(b"\r\n", b"\n"))
        done = subprocess.run(["/usr/sbin/opendkim", "-x", f"{folder}/conf", "-t",
                               f"{folder}/message", "-vv"], capture_output=True, text=True,
                              check=False, timeout=60)
    assert done.returncode == 0 and done.stdout.count("dkim=pass") == 2, done


def test_notices_are_signed_and_what_strangers_sent_is_not(world):
    far, sink = world.sink()
    dead, refusing = world.sink(replies={"RCPT": "550 5.1.1 nobody"})
    world.box.ctl("alias", "add", "on@example.test", f"bob@{dead}", f"good@{far}")
    with smtplib.SMTP("127.0.0.1", world.box.ports["smtp"]) as client:
        client.sendmail(f"bob@{far}", ["on@example.test"],
                        f"From: bob@{far}\r\nSubject: x\r\n\r\nx\r\n")
    messages = world.box.wait_for(lambda: len(sink.messages) == 2 and sink.messages)
    notice = [m.data for m in messages if b"mailer-daemon" in m.data][0]
    forwarded = [m.data for m in messages if b"mailer-daemon" not in m.data][0]
    assert {s[0] for s in signatures(notice)} == {"example.test"}
    assert verified(world, notice) == [True, True]
    assert not signatures(forwarded)
    assert not refusing.messages


@pytest.mark.parametrize("line", [b"no field", b"no field: x", b"X-\xe9: x"])
def test_a_header_with_a_broken_line_hides_no_sender(world, line):
    """Where a reader goes on behind such a line, From there is looked at, or it is text."""
    text = b"Date: Wed, 1 Jan 2025 00:00:00 +0000\r\nMessage-ID: <1@example.test>\r\n" + line + \
        b"\r\nFrom: Boss <boss@example.test>\r\nSubject: x\r\n\r\nx\r\n"
    try:
        message = world.send(text)
    except smtplib.SMTPDataError as e:
        assert e.smtp_code == 550 and b"boss@example.test" in e.smtp_error
        return
    assert not signatures(message)
    assert b"\nFrom:" not in message.split(b"\r\n\r\n")[0]


def test_who_logs_in_on_port_25_writes_as_himself_too(world):
    domain, sink = world.sink()
    world.box.ctl("set", "listener.smtp.auth", "yes")
    try:
        with smtplib.SMTP("127.0.0.1", world.box.ports["smtp"]) as client:
            client.starttls(context=tls_context())
            client.login("alice@example.test", PASSWORD)
            with pytest.raises(smtplib.SMTPDataError) as refused:
                client.sendmail("alice@example.test", [f"bob@{domain}"],
                                "From: boss@example.test\r\nSubject: x\r\n\r\nx\r\n")
            assert b"boss@example.test" in refused.value.smtp_error
            client.sendmail("alice@example.test", [f"bob@{domain}"], MESSAGES["no body"])
    finally:
        world.box.ctl("unset", "listener.smtp.auth")
    message = world.box.wait_for(lambda: sink.messages)[0].data
    assert verified(world, message) == [True, True]


def test_a_domain_with_other_letters(world):
    """Signed as its A-labels say, whichever way From is written."""
    world.box.ctl("domain", "add", "b\u00fccher.test")
    world.box.add_account("eva@b\u00fccher.test")
    for row in world.box.ctl("domain", "dns", "b\u00fccher.test"):
        if row["purpose"] == "dkim":
            world.dns.records[record(row)[:2]] = [record(row)[2]]
    domain, sink = world.sink(extensions=["8BITMIME", "SMTPUTF8"])
    for sender in ("eva@xn--bcher-kva.test", "eva@b\u00fccher.test"):
        with smtplib.SMTP_SSL("127.0.0.1", world.box.ports["submissions"],
                              context=tls_context()) as client:
            client.login("eva@xn--bcher-kva.test", PASSWORD)
            client.sendmail(sender, [f"bob@{domain}"],
                            f"From: {sender}\r\nSubject: x\r\n\r\nx\r\n".encode(),
                            mail_options=["SMTPUTF8", "BODY=8BITMIME"])
    messages = world.box.wait_for(lambda: len(sink.messages) == 2 and sink.messages)
    for message in messages:
        assert {s[0] for s in signatures(message.data)} == {"xn--bcher-kva.test"}
        assert verified(world, message.data) == [True, True]


# --- keys --------------------------------------------------------------------------------------
def test_other_names_of_a_domain_sign_for_themselves(world):
    world.box.ctl("domain", "alias", "add", "other.test", "example.test")
    world.box.wait_for(lambda: world.box.run_ctl("dkim", "list", "other.test").returncode == 0)
    rows = world.box.ctl("domain", "dns", "other.test")
    assert sum(r["purpose"] == "dkim" and r["name"].endswith("._domainkey.other.test.")
               for r in rows) == 2
    world.box.ctl("domain", "alias", "remove", "other.test")
    assert world.box.run_ctl("dkim", "list", "other.test").returncode != 0


def test_new_keys_sign_when_they_are_published(world):
    old = {k["selector"] for k in world.keys("current")}
    world.box.ctl("dkim", "rotate", "example.test")
    new = {k["selector"] for k in world.keys("next")}
    assert len(new) == 2 and not new & old
    assert world.box.run_ctl("dkim", "rotate", "example.test").returncode == 1
    done = world.box.run_ctl("dkim", "activate", "example.test")
    assert done.returncode == 1 and b"missing" in done.stdout
    assert {s[1] for s in signatures(world.send(MESSAGES["plain"]))} == old
    world.publish("dkim-next")
    world.box.ctl("dkim", "activate", "example.test")
    assert {k["selector"] for k in world.keys("current")} == new
    assert {k["selector"] for k in world.keys("old")} == old
    message = world.box.wait_for(lambda: [m for m in [world.send(MESSAGES["plain"])]
                                          if {s[1] for s in signatures(m)} == new])[0]
    assert verified(world, message) == [True, True]
    assert world.box.run_ctl("dkim", "activate", "example.test").returncode == 1


def test_a_rotation_that_is_taken_back(world):
    before = world.keys("current")
    world.box.ctl("dkim", "rotate", "example.test")
    world.box.ctl("dkim", "cancel", "example.test")
    assert world.keys("current") == before and not world.keys("next")
    assert world.box.run_ctl("dkim", "cancel", "example.test").returncode == 1
    assert world.box.run_ctl("dkim", "rotate", "far.test").returncode == 1


def test_new_keys_are_found_without_anybody(world):
    """authd looks each hour, and when it starts."""
    world.box.ctl("dkim", "rotate", "example.test")
    new = {k["selector"] for k in world.keys("next")}
    world.publish("dkim-next")
    world.box.kill("authd")

    def current():
        done = world.box.run_ctl("dkim", "list", "example.test")
        return {k["selector"] for k in json.loads(done.stdout) if k["state"] == "current"} \
            if done.returncode == 0 else None  # it is on its way up
    world.box.wait_for(lambda: current() == new)


def test_a_domain_without_keys_gets_some(world):
    """Of an older version; and the keys of a domain that goes go with it."""
    folder = f"{world.box.state}/keys/_dkim"
    world.box.ctl("domain", "add", "new.test")
    world.box.wait_for(lambda: os.path.exists(f"{folder}/new.test.pem"))
    assert os.stat(f"{folder}/new.test.pem").st_mode & 0o777 == 0o600
    os.unlink(f"{folder}/new.test.pem")
    world.box.kill("authd")
    world.box.wait_for(lambda: os.path.exists(f"{folder}/new.test.pem"))
    world.box.ctl("domain", "remove", "new.test")
    world.box.wait_for(lambda: not os.path.exists(f"{folder}/new.test.pem"))


def test_many_domains(world):
    """More keys than one message between processes holds."""
    folder = f"{world.box.state}/keys/_dkim"
    names = [f"{folder}/d{i}.many.test.pem" for i in range(700)]
    for name in names:
        shutil.copy(f"{folder}/example.test.pem", name)
        shutil.chown(name, os.stat(folder).st_uid, os.stat(folder).st_gid)
    world.box.kill("keyd")
    world.box.wait_for(lambda: any(r.get("signing-domains", 0) >= 701
                                   for r in world.box.ctl("status")))
    assert verified(world, world.send(MESSAGES["plain"])) == [True, True]
    for name in names:
        os.unlink(name)
    world.box.kill("keyd")
    world.box.wait_for(lambda: any(0 < r.get("signing-domains", 0) < 700
                                   for r in world.box.ctl("status")))


@pytest.mark.parametrize("program", ["keyd", "smtpd-send", "smtpd"])
def test_keys_come_again_after_a_crash(world, program):
    keys = world.keys("current")
    world.box.kill(program)

    def sent():
        try:
            return world.send(MESSAGES["plain"])
        except (OSError, smtplib.SMTPException):
            return None  # it is on its way up
    message = world.box.wait_for(sent)
    assert sorted(s[1] for s in signatures(message)) == sorted(k["selector"] for k in keys)
    world.box.wait_for(lambda: world.box.run_ctl("dkim", "list").returncode == 0)
    assert world.keys("current") == keys
    world.box.wait_for(lambda: any(r.get("process") == "smtpd-send" and "pid" in r
                                   for r in world.box.ctl("status")))


def test_no_answer_and_no_log_holds_a_private_key(world):
    rows = world.box.run_ctl("domain", "dns", "example.test").stdout + \
        world.box.run_ctl("dkim", "list").stdout + world.box.log_text().encode()
    assert b"PRIVATE" not in rows and b"MIIEv" not in rows


# --- domain dns --------------------------------------------------------------------------------
def test_the_records_of_a_domain(world):
    rows = {r["purpose"]: r for r in world.box.ctl("domain", "dns", "example.test")}
    assert rows["mx"]["value"] == "10 mail.example.test." and rows["mx"]["type"] == "MX"
    assert rows["address"]["value"] == OWN
    assert rows["reverse"]["name"] == "1.1.0.127.in-addr.arpa."
    assert rows["srv-imaps"]["value"] == f"0 1 {world.box.ports['imaps']} mail.example.test."
    assert re.fullmatch("3 1 1 [0-9a-f]{64}", rows["tlsa"]["value"])
    assert {r["importance"] for r in rows.values()} == {"required", "recommended", "optional"}
    assert all(r["why"] and r["zone"] for r in rows.values())
    assert world.box.run_ctl("domain", "dns", "far.test").returncode == 1
    assert world.box.run_ctl("domain", "dns", "example.test", "--what").returncode == 1


def test_a_zone_file(world):
    (row,) = world.box.ctl("domain", "dns", "example.test", "--zone")
    with tempfile.TemporaryDirectory(prefix="mailstead-zone-") as folder:
        with open(f"{folder}/zone", "w", encoding="ascii") as zone:
            zone.write("test. 3600 IN SOA ns.test. me.test. 1 2 3 4 5\ntest. IN NS ns.test.\n"
                       "ns.test. IN A 127.0.0.1\n" + row["zone"])
        done = subprocess.run(["named-checkzone", "test", f"{folder}/zone"], capture_output=True,
                              text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert all(len(s) <= 255 for s in re.findall('"([^"]*)"', row["zone"]))


def test_check_compares_with_dns(world):
    before = dict(world.dns.records)
    world.publish()
    status, rows = world.check()
    assert status == 0, [r for r in rows.values() if r["status"] != "ok"]
    assert {r["status"] for p, r in rows.items() if p not in ("tlsa", "dkim-old")} == {"ok"}, rows
    assert "DNSSEC" in rows["tlsa"]["advice"]  # the zone is not signed
    records = world.dns.records

    def breaks(purpose, key, values, want):
        kept = records.pop(key)
        if values is not None:
            records[key] = values
        code, found = world.check()
        records[key] = kept
        assert found[purpose]["status"] == want, found[purpose]
        assert found[purpose]["advice"]
        assert code == (1 if found[purpose]["importance"] == "required" else 0)

    breaks("mx", ("example.test", MX), None, "missing")
    breaks("mx", ("example.test", MX), [(5, "mx.other.test"), (10, "mail.example.test")],
           "differs")
    breaks("spf", ("example.test", TXT), [b"v=spf1 mx ~all", b"v=spf1 -all"], "differs")
    breaks("spf", ("example.test", TXT), [b"v=spf1 -all"], "differs")
    breaks("spf", ("example.test", TXT), [b"other"], "missing")
    breaks("address", ("mail.example.test", A), ["192.0.2.99"], "differs")
    breaks("reverse", ("1.1.0.127.in-addr.arpa", PTR), ["dsl.provider.test"], "differs")
    breaks("dmarc", ("_dmarc.example.test", TXT), [b"v=DMARC1; rua=mailto:a@b.test"], "differs")
    breaks("tls-rpt", ("_smtp._tls.example.test", TXT), None, "missing")
    rsa, selector = [k["selector"] for k in world.keys("current")]
    kept = records.pop((f"{rsa}._domainkey.example.test", TXT))
    assert world.check()[0] == 1
    records[(f"{rsa}._domainkey.example.test", TXT)] = kept
    breaks("dkim", (f"{selector}._domainkey.example.test", TXT), [b"v=DKIM1; k=rsa; p="],
           "differs")
    world.dns.broken.add("example.test")
    code, found = world.check()
    world.dns.broken.discard("example.test")
    assert found["mx"]["status"] == "unknown" and found["dmarc"]["status"] == "ok"
    world.dns.records = before


def test_text_for_people(world):
    done = subprocess.run([f"{BIN}/mailsteadctl", "-c", world.box.conf, "domain", "dns",
                           "example.test"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert 'example.test. 3600 IN TXT "v=spf1 mx ~all"\n    required: ' in done.stdout
