"""How mail is handed over: what the server offers, and what the message needs."""
import email
import email.policy

import pytest

from internet import MX
from send_world import World

ALL = ["PIPELINING", "8BITMIME", "CHUNKING", "SMTPUTF8", "SIZE 10000000"]
EIGHT = ("MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n"
         "Content-Transfer-Encoding: 8bit\r\nSubject: x\r\n\r\n"
         "--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
         "Gr\u00fc\u00dfe \r\n.\r\n"
         "--b\r\nContent-Type: application/x-own\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
         "\u20ac\r\n--b--\r\n").encode()


@pytest.fixture(scope="module")
def world():
    with World() as made:
        yield made


@pytest.fixture(autouse=True)
def settled(world):
    yield
    world.inbox()


def text_of(part):
    return part.get_content().splitlines()


def parsed(message):
    return email.message_from_bytes(message.data, policy=email.policy.default)


# --- 8BITMIME ----------------------------------------------------------------------------------
def test_eight_bits_go_out_as_they_are(world):
    domain, (sink,) = world.domain({})
    world.submit(f"bob@{domain}", text=EIGHT)
    world.wait(lambda: sink.messages)
    assert "BODY=8BITMIME" in sink.messages[0].mail_options  # though the client did not say so
    assert sink.messages[0].data.endswith(EIGHT[EIGHT.index(b"--b"):])


@pytest.mark.parametrize("extensions", [["PIPELINING"], [], ["CHUNKING"], ["CHUNKING", "PIPELINING"]])
@pytest.mark.parametrize("count", [1, 3000])
def test_eight_bits_become_seven(world, extensions, count):
    text = EIGHT.replace(b"Gr\xc3", b"line\r\n" * count + b"Gr\xc3").replace(
        b"\xe2", b"-=x \r\n" * count * 10 + b"\xe2")
    domain, (sink,) = world.domain({"extensions": extensions})
    world.submit(f"bob@{domain}", text=text, options=["BODY=8BITMIME"])
    world.wait(lambda: sink.messages)
    message = sink.messages[0]
    assert "BODY" not in message.mail_options and message.data.isascii()
    first, second = parsed(message).iter_parts()
    before = list(email.message_from_bytes(text, policy=email.policy.default).iter_parts())
    assert first["Content-Transfer-Encoding"] == "quoted-printable"
    assert second["Content-Transfer-Encoding"] == "base64"
    assert parsed(message)["Content-Transfer-Encoding"] == "7bit"
    assert text_of(first) == text_of(before[0])
    assert second.get_content() == b"-=x \r\n" * count * 10 + b"\xe2\x82\xac"
    assert (message.chunks > 1) == ("CHUNKING" in extensions and count > 1)


# --- CHUNKING ----------------------------------------------------------------------------------
@pytest.mark.parametrize("extensions", [ALL, ["CHUNKING"]])
@pytest.mark.parametrize("lines", [1, 30000])
def test_chunks(world, extensions, lines):
    domain, (sink,) = world.domain({"extensions": extensions})
    text = "Subject: x\r\n\r\n" + ".dots\r\n" * lines + "end without line end"
    world.submit(f"a@{domain}", f"b@{domain}", text=text)
    world.wait(lambda: sink.messages)
    message = sink.messages[0]
    assert sorted(message.recipients) == [f"a@{domain}", f"b@{domain}"]
    assert message.data.endswith(text.split("\r\n\r\n")[1].encode() + b"\r\n")
    assert message.chunks == 1 if lines == 1 else message.chunks > 1
    assert "DATA" not in sink.commands
    world.wait(lambda: not world.queue(domain))


@pytest.mark.parametrize("lines", [1, 30000])
def test_chunks_and_refused_recipients(world, lines):
    domain, (sink,) = world.domain({"extensions": ALL})
    sink.replies[f"RCPT no@{domain}"] = "550 5.1.1 no"
    text = "Subject: x\r\n\r\n" + "12345678\r\n" * lines
    world.submit(f"no@{domain}", text=text)
    assert world.bounce()[1][0]["Status"] == "5.1.1"
    world.submit(f"no@{domain}", f"yes@{domain}", text=text)
    world.wait(lambda: sink.messages)
    assert sink.messages[0].recipients == [f"yes@{domain}"]
    assert world.bounce()[1][0]["Status"] == "5.1.1"
    world.wait(lambda: not world.queue(domain))


def test_a_chunk_is_refused(world):
    domain, (sink,) = world.domain({"extensions": ALL})
    sink.replies["CHUNK"] = ["552 5.3.4 too much", "552 5.3.4 too much"]
    world.submit(f"bob@{domain}", text="Subject: x\r\n\r\n" + "12345678\r\n" * 60000)
    assert world.bounce()[1][0]["Status"] == "5.3.4"
    assert not sink.messages and not world.queue(domain)


def test_data_that_is_wanted_by_nobody(world):
    """RFC 2920 section 3.1: DATA went out before the answers, and was answered with 354."""
    domain, (sink,) = world.domain({})
    sink.is_late = True
    sink.replies[f"RCPT no@{domain}"] = "550 5.1.1 no"
    world.submit(f"no@{domain}")
    assert world.bounce()[1][0]["Status"] == "5.1.1"
    world.submit(f"yes@{domain}")
    world.wait(lambda: sink.messages)
    assert len(sink.messages) == 1


# --- SMTPUTF8 ----------------------------------------------------------------------------------
def idn(world, **options):
    """A domain with a name in UTF-8: as people write it, and its server."""
    domain, (sink,) = world.domain(options)
    name = "b\u00fccher-" + domain
    wire = name.encode("idna").decode()
    world.dns.records[(wire, MX)] = [(1, f"mx1.{domain}")]
    return name, wire, sink


def test_utf8_is_passed_on(world):
    name, _, sink = idn(world, extensions=ALL)
    world.submit(f"b\u00f6b@{name}", text="Subject: \u00e4\r\n\r\nx\r\n".encode(),
                 options=["SMTPUTF8"])
    world.wait(lambda: sink.messages)
    assert "SMTPUTF8" in sink.messages[0].mail_options
    assert sink.messages[0].recipients == [f"b\u00f6b@{name}"]


def test_only_the_domain_needs_utf8(world):
    name, wire, sink = idn(world)
    world.submit(f"bob@{name}", options=["SMTPUTF8"])
    world.wait(lambda: sink.messages)
    assert sink.messages[0].recipients == [f"bob@{wire}"]
    assert "SMTPUTF8" not in sink.messages[0].mail_options


@pytest.mark.parametrize("local,text", [
    ("b\u00f6b", "Subject: x\r\n\r\nx\r\n"), ("bob", "Subject: \u00e4\r\n\r\nx\r\n")])
def test_utf8_that_the_server_does_not_take(world, local, text):
    name, _, sink = idn(world)
    world.submit(f"{local}@{name}", text=text.encode(), options=["SMTPUTF8"])
    world.last = ("Status: 5.6.7",)  # the address itself is base64 when Python writes it
    message, _ = world.bounce()
    status = list(message.iter_parts())[1]
    assert status.get_content_type() == "message/global-delivery-status"
    assert not sink.messages


# --- REQUIRETLS, DSN ---------------------------------------------------------------------------
def test_requiretls_without_verified_tls(world):
    domain, (sink,) = world.domain({"extensions": ALL + ["REQUIRETLS"]})
    world.submit(f"bob@{domain}", options=["REQUIRETLS"])
    assert world.bounce()[1][0]["Status"] == "5.7.30"
    assert not sink.messages


def test_a_local_recipient_and_success(world):
    world.submit("alice@example.test", rcpt_options=["NOTIFY=SUCCESS"])
    came = []

    def all_of_it():
        came.extend(world.inbox())
        return len(came) == 2
    world.wait(all_of_it)
    report = [m for m in came if m.get_content_type() == "multipart/report"][0]
    fields = list(report.iter_parts())[1].get_payload()[1]
    assert fields["Action"] == "delivered" and fields["Status"] == "2.1.5"
    assert fields["Final-Recipient"] == "rfc822; alice@example.test"
