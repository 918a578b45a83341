"""Routes: a smarthost for everything, for a recipient's domain, for a sender's; logging in there."""
import os
import shutil
import ssl
import subprocess
import tempfile

import pytest

from internet import A, Sink
from send_world import World


@pytest.fixture(scope="module")
def world():
    folder = tempfile.mkdtemp(prefix="mailstead-relay-")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-days", "9", "-subj", "/CN=relay.test",
                    "-addext", "subjectAltName=DNS:*.relay.test,IP:127.0.6.1", "-keyout", f"{folder}/key.pem",
                    "-out", f"{folder}/cert.pem"], check=True, stderr=subprocess.DEVNULL)
    made = World()
    made.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made.tls.load_cert_chain(f"{folder}/cert.pem", f"{folder}/key.pem")
    os.chmod(folder, 0o755)
    made.box.settings["tls.ca_file"] = f"{folder}/cert.pem"
    with made:
        yield made
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def no_routes(world):
    yield
    for row in world.box.process and world.box.ctl("route", "list"):
        world.box.run_ctl("route", "remove", row["for"])
    world.inbox()


def relay(world, zone="relay.test", port=None, **options):
    """A smarthost, and what names it; never the same name again, which would be remembered."""
    name = f"h{world.next}.{zone}"
    address = f"127.0.1.{world.next}"
    world.next += 1
    sink = Sink(address, port or world.port, **options)
    world.sinks.append(sink)
    world.dns.records[(name, A)] = [address]
    return sink, f"{name}:{sink.port}"


@pytest.mark.parametrize("mechanisms", ["PLAIN LOGIN", "LOGIN"])
def test_everything_through_a_smarthost_that_wants_a_login(world, mechanisms):
    domain, (own,) = world.domain({})
    sink, host = relay(world, tls=world.tls, extensions=["PIPELINING", f"AUTH {mechanisms}"])
    sink.users = {"me@isp.test": "sesame with spaces"}
    world.box.ctl("route", "add", "all", host, "user=me@isp.test", "--password-stdin",
                  secret="sesame with spaces")
    rows = world.box.ctl("route", "list")
    assert rows == [{"for": "all", "order": 1, "host": host.split(":")[0], "port": sink.port,
                     "tls": "verified", "user": "me@isp.test"}]
    world.submit(f"bob@{domain}")
    world.submit(f"eve@no-such-{domain}")
    world.wait(lambda: len(sink.messages) == 2)
    assert not own.messages and sink.messages[0].is_tls
    for _, _, names in os.walk(world.box.state):
        assert "sesame" not in names
    assert "sesame" not in world.box.log_text()
    assert b"sesame" not in world.box.run_ctl("audit", "list").stdout


def test_a_login_that_is_refused_waits(world):
    domain, _ = world.domain({})
    sink, host = relay(world, tls=world.tls, extensions=["AUTH PLAIN"])
    sink.users = {"me": "right"}
    world.box.ctl("route", "add", "all", host, "user=me", "--password-stdin", secret="wrong")
    world.submit(f"bob@{domain}")
    row = world.wait(lambda: [r for r in world.queue(domain) if r["reply"]])[0]
    assert "4.7.8" in row["reply"] and row["state"] == "waiting"
    world.box.ctl("route", "add", "all", host, "user=me", "--password-stdin", secret="right")
    world.wait(lambda: sink.messages, 60)


@pytest.mark.parametrize("stance,name,tls,good", [
    ("verified", "relay.test", True, True), ("verified", "other.test", True, False),
    ("verified", "relay.test", False, False), ("required", "other.test", True, True),
    ("required", "relay.test", False, False), ("opportunistic", "other.test", True, True),
    ("opportunistic", "relay.test", False, True), ("none", "relay.test", True, True)])
def test_tls_at_a_smarthost(world, stance, name, tls, good):
    domain, _ = world.domain({})
    sink, host = relay(world, name, **({"tls": world.tls} if tls else {}))
    world.box.ctl("route", "add", "all", host, f"tls={stance}")
    world.submit(f"bob@{domain}")
    if good:
        world.wait(lambda: sink.messages)
        assert sink.messages[0].is_tls == (tls and stance != "none")
    else:
        row = world.wait(lambda: [r for r in world.queue(domain) if r["reply"]])[0]
        assert row["state"] == "waiting" and "4." in row["reply"] and not sink.messages
        world.box.ctl("queue", "delete", row["id"])


@pytest.mark.parametrize("stance,extensions,good", [
    ("verified", ["REQUIRETLS"], True), ("verified", [], False), ("required", ["REQUIRETLS"], False)])
def test_requiretls_over_what_is_verified(world, stance, extensions, good):
    domain, _ = world.domain({})
    sink, host = relay(world, tls=world.tls, extensions=["PIPELINING"] + extensions)
    world.box.ctl("route", "add", "all", host, f"tls={stance}")
    world.submit(f"bob@{domain}", options=["REQUIRETLS"])
    if good:
        world.wait(lambda: sink.messages)
        assert "REQUIRETLS" in sink.messages[0].mail_options
    else:
        assert world.bounce()[1][0]["Status"] == "5.7.30" and not sink.messages


def test_tls_from_the_first_byte(world):
    domain, _ = world.domain({})
    sink, host = relay(world, port=465, tls=world.tls, extensions=["AUTH PLAIN"])
    sink.is_tls_first, sink.users = True, {"me": "pw"}
    world.box.ctl("route", "add", "all", host, "user=me", "--password-stdin", secret="pw")
    world.submit(f"bob@{domain}")
    world.wait(lambda: sink.messages)
    assert sink.messages[0].is_tls and "STARTTLS" not in sink.commands


@pytest.mark.parametrize("form,stance,good", [
    ("{}", "none", True), ("[{}]", "none", True), ("[{}]", "verified", True),
    ("{}", "verified", False)])
def test_a_smarthost_by_its_address(world, form, stance, good):
    """Nobody is asked for it; a certificate has to name the address."""
    domain, _ = world.domain({})
    address = f"127.0.{6 if good else 7}.1"
    sink = Sink(address, world.port, tls=world.tls)
    world.others.append(sink)
    name = form.format(address)
    world.box.ctl("route", "add", "all", f"{name}:{sink.port}", f"tls={stance}")
    assert world.box.ctl("route", "list")[0]["host"] == f"[{address}]"
    world.submit(f"bob@{domain}")
    if good:
        world.wait(lambda: sink.messages)
        assert sink.messages[0].is_tls == (stance == "verified")
    else:
        world.wait(lambda: [r for r in world.queue(domain) if "4.7.5" in r["reply"]])
        world.box.ctl("queue", "delete", "domain", domain)
    assert not [name for name, _ in world.dns.asked if address in name or domain in name]
    world.box.ctl("route", "remove", "all", f"[{address}]:{sink.port}")
    sink.close()


@pytest.mark.parametrize("host,shown,port", [
    ("2001:db8::1", "[IPv6:2001:db8::1]", 587), ("[2001:db8::1]:25", "[IPv6:2001:db8::1]", 25),
    ("[IPv6:2001:DB8::1]", "[IPv6:2001:db8::1]", 587), ("192.0.2.1", "[192.0.2.1]", 587),
    ("[192.0.2.1]:465", "[192.0.2.1]", 465)])
def test_forms_of_addresses(world, host, shown, port):
    world.box.ctl("route", "add", "to:x.test", host)
    row = world.box.ctl("route", "list")[0]
    assert (row["host"], row["port"]) == (shown, port)
    world.box.ctl("route", "remove", "to:x.test", host)
    assert not world.box.ctl("route", "list")


def test_a_connection_that_waits_does_not_outlive_its_route(world):
    domain, (own,) = world.domain({})
    sink, host = relay(world, "new.test")
    world.submit(f"bob@{domain}")
    world.wait(lambda: own.messages)
    world.box.ctl("route", "add", f"to:{domain}", host, "tls=none")
    world.submit(f"eve@{domain}")
    world.wait(lambda: sink.messages)
    assert len(own.messages) == 1
    world.box.ctl("route", "remove", f"to:{domain}")
    world.submit(f"ann@{domain}")
    world.wait(lambda: len(own.messages) == 2)
    assert len(sink.messages) == 1


def test_a_connection_that_waits_does_not_outlive_its_rule(world):
    domain, (own,) = world.domain({})
    world.submit(f"bob@{domain}")
    world.wait(lambda: own.messages)
    world.box.ctl("set", "outbound.tls_rules", f"{domain}=required")
    world.submit(f"eve@{domain}")
    world.wait(lambda: [r for r in world.queue(domain) if "4.7.0" in r["reply"]])
    assert len(own.messages) == 1 and own.sessions == 2
    world.box.ctl("unset", "outbound.tls_rules")
    world.wait(lambda: len(own.messages) == 2)


def test_several_in_order(world):
    domain, _ = world.domain({})
    dead, host1 = relay(world, "relay1.test", replies={"CONNECT": "421 no"})
    alive, host2 = relay(world, "relay2.test")
    world.box.ctl("route", "add", f"to:{domain}", host1, "tls=opportunistic")
    world.box.ctl("route", "add", f"to:{domain}", host2, "tls=opportunistic")
    world.submit(f"bob@{domain}")
    world.wait(lambda: alive.messages)
    assert dead.sessions == 1


def test_the_most_exact_route_holds(world):
    one, (own,) = world.domain({})
    other, _ = world.domain({})
    third, _ = world.domain({})
    everything, host_all = relay(world, "all.test")
    by_sender, host_from = relay(world, "from.test")
    exact, host_to = relay(world, "to.test")
    for scope, host in (("all", host_all), ("from:example.test", host_from), (f"to:{other}", host_to),
                        (f"to:{one}", "direct")):
        world.box.ctl("route", "add", scope, host, "tls=opportunistic")
    world.submit(f"bob@{one}", f"bob@{other}", f"bob@{third}")
    world.wait(lambda: own.messages and by_sender.messages and exact.messages)
    assert by_sender.messages[0].recipients == [f"bob@{third}"]
    assert exact.messages[0].recipients == [f"bob@{other}"] and not everything.messages
    world.box.ctl("route", "remove", "from:example.test")
    fourth, _ = world.domain({})
    world.submit(f"bob@{fourth}")
    world.wait(lambda: everything.messages)


def test_senders_share_no_connection_where_their_routes_differ(world):
    world.box.ctl("domain", "add", "second.test")
    world.box.add_account("alice@second.test")
    domain, _ = world.domain({})
    first, host1 = relay(world, "first.test")
    second, host2 = relay(world, "second-relay.test")
    world.box.ctl("queue", "pause")
    world.box.ctl("route", "add", "from:example.test", host1, "tls=none")
    world.box.ctl("route", "add", "from:second.test", host2, "tls=none")
    world.box.ctl("sender", "add", "alice@example.test", "alice@second.test")
    for i in range(10):
        world.submit(f"r{i}@{domain}", sender=f"alice@{'second' if i % 2 else 'example'}.test")
    world.box.ctl("queue", "resume")
    world.wait(lambda: len(first.messages) == 5 and len(second.messages) == 5)
    assert {m.sender for m in first.messages} == {"alice@example.test"}
    assert {m.sender for m in second.messages} == {"alice@second.test"}


def test_routes_survive_a_restart_and_can_be_changed_for_queued_mail(world):
    domain, _ = world.domain(None)
    world.submit(f"bob@{domain}")
    world.wait(lambda: [r for r in world.queue(domain) if r["reply"]])
    sink, host = relay(world, "late.test")
    world.box.ctl("route", "add", f"to:{domain}", host, "tls=none")
    world.box.stop()
    world.box.start()
    world.box.ctl("queue", "retry", "domain", domain)
    world.wait(lambda: sink.messages)


@pytest.mark.parametrize("words,said", [
    (["some", "a.test"], "to:DOMAIN"), (["all", "a.test:0"], "port"), (["all", "[192.0.2.1]x"], "port"),
    (["all", "[192.0.2]"], "domain"), (["all", "a..b"], "domain"),
    (["all", "a.test", "tls=maybe"], "verified"), (["all", "a.test", "what"], "option"),
    (["all", "a.test", "user=me"], "password"), (["to:a b", "a.test"], "domain")])
def test_bad_routes(world, words, said):
    done = world.box.run_ctl("route", "add", *words)
    assert done.returncode != 0 and said in (done.stdout + done.stderr).decode()
    assert not world.box.ctl("route", "list")


def test_a_password_goes_over_tls_only(world):
    for stance in ("none", "opportunistic"):
        done = world.box.run_ctl("route", "add", "all", "a.test", f"tls={stance}", "user=me",
                                 "--password-stdin", secret="x")
        assert done.returncode != 0 and b"TLS only" in done.stdout + done.stderr


def sender_of(box):
    return [r for r in box.ctl("status") if "port-25" in r][0]


# --- what is found out -------------------------------------------------------------------------
def test_a_domain_that_does_not_want_us(world):
    domain, (sink,) = world.domain({"replies": {
        "MAIL": "550 5.7.1 [127.0.0.1] is on the blocklist of example"}})
    other, _ = world.domain({"replies": {"RCPT": "550 5.1.1 no such user"}})
    for i in range(3):
        world.submit(f"r{i}@{domain}")
        world.submit(f"r{i}@{other}")
    rows = world.wait(lambda: world.box.ctl("route", "suggest"))
    assert [r["for"] for r in rows] == [f"to:{domain}"] and "blocklist" in rows[0]["because"]
    assert rows[0]["command"].startswith(f"mailsteadctl route add to:{domain} ")
    host, where = relay(world)
    world.box.ctl("route", "add", f"to:{domain}", where, "tls=none")
    # A connection that is there is used until it has been idle for a moment.
    world.wait(lambda: sender_of(world.box)["under-way"] == 0)
    world.submit(f"again@{domain}")
    world.wait(lambda: host.messages)
    world.wait(lambda: not world.box.ctl("route", "suggest"))


def test_nobody_can_be_reached():
    with World() as made:
        for i in range(5):
            made.dns.mail_domain(f"n{i}.test", f"127.{i + 20}.0.1")
            made.submit(f"bob@n{i}.test")

        made.wait(lambda: "smarthost" in sender_of(made.box)["port-25"])
        made.wait(lambda: [r for r in made.box.ctl("route", "suggest") if r["for"] == "all"])
        assert "event=smtp-out-blocked" in made.box.log_text()
        domain, (sink,) = made.domain({})
        made.submit(f"bob@{domain}")
        made.wait(lambda: sink.messages)
        made.wait(lambda: sender_of(made.box)["port-25"] == "open")
