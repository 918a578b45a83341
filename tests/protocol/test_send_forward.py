"""Mail that is forwarded to another server leaves as ours, and what comes back finds its sender."""
import smtplib

import pytest

from send_world import World


@pytest.fixture(scope="module")
def world():
    with World() as made:
        yield made


def deliver(world, sender, rcpt, text="Subject: x\r\n\r\nhello\r\n", options=()):
    with smtplib.SMTP("127.0.0.1", world.box.ports["smtp"]) as client:
        client.sendmail(sender, [rcpt], text, mail_options=options)


def forwarded(world, sender, **options):
    """Through an alias to another server: what arrives there."""
    domain, (sink,) = world.domain(options)
    world.box.ctl("alias", "add", f"to.{domain}@example.test", f"bob@{domain}")
    deliver(world, sender, f"to.{domain}@example.test")
    world.wait(lambda: sink.messages)
    return sink.messages[0]


def test_there_and_back(world):
    home, (back,) = world.domain({})
    message = forwarded(world, f"eve@{home}")
    assert message.sender.startswith("SRS0=") and message.sender.endswith(f"={home}=eve@example.test")
    assert message.data.endswith(b"Subject: x\r\n\r\nhello\r\n")
    assert b"Return-Path" not in message.data
    deliver(world, "", message.sender, "Subject: no such user\r\n\r\nsorry\r\n")
    world.wait(lambda: back.messages)
    assert back.messages[0].sender == "" and back.messages[0].recipients == [f"eve@{home}"]


def test_an_address_forwards_and_keeps_a_copy(world):
    """What the manual page of forwarding says."""
    domain, (sink,) = world.domain({})
    address = "copy@example.test"
    world.box.ctl("alias", "add", address, "alice@example.test", f"bob@{domain}")
    refused = world.box.run_ctl("alias", "add", "alice@example.test", f"bob@{domain}")
    assert refused.returncode != 0 and b"there is an account" in refused.stdout
    deliver(world, "eve@elsewhere.test", address, f"Subject: {domain}\r\n\r\nhello\r\n")
    world.wait(lambda: sink.messages)
    world.wait(lambda: [m for m in world.inbox() if m["Subject"] == domain])
    world.box.ctl("alias", "remove", address)


def test_forged_and_old_ones_are_unknown(world):
    message = forwarded(world, "eve@elsewhere.test")
    local, domain = message.sender.split("@")
    for bad in (local.replace("eve", "adam"), local[:5] + "AAAAAA" + local[11:],
                local.replace("SRS0", "SRS1"), local[:14]):
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            deliver(world, "", f"{bad}@{domain}")
        assert list(refused.value.recipients.values())[0][0] == 550


@pytest.mark.parametrize("sender", ["", "alice@example.test"])
def test_nobody_and_our_own_stay_who_they_are(world, sender):
    if sender:
        domain, (sink,) = world.domain({})
        world.box.ctl("alias", "add", f"own.{domain}@example.test", f"bob@{domain}")
        world.submit(f"own.{domain}@example.test")
        world.wait(lambda: sink.messages)
        assert sink.messages[0].sender == sender
    else:
        assert forwarded(world, sender).sender == ""


def test_a_forward_that_fails_is_told_to_the_sender_himself(world):
    home, (back,) = world.domain({})
    domain, _ = world.domain({"replies": {"RCPT": "550 5.1.1 no such user"}})
    world.box.ctl("alias", "add", f"to.{domain}@example.test", f"bob@{domain}")
    deliver(world, f"eve@{home}", f"to.{domain}@example.test")
    world.wait(lambda: back.messages)
    assert back.messages[0].recipients == [f"eve@{home}"] and back.messages[0].sender == ""


def test_through_two_forwarders(world):
    message = forwarded(world, "SRS0=ABCD=EF=first.test=eve@second.test")
    assert message.sender.startswith("SRS1=")
    assert message.sender.endswith("=second.test==ABCD=EF=first.test=eve@example.test")


def test_the_key_outlives_a_restart(world):
    home, (back,) = world.domain({})
    message = forwarded(world, f"eve@{home}")
    world.box.stop()
    world.box.start()
    deliver(world, "", message.sender.lower())
    world.wait(lambda: back.messages)


def test_round_and_round_ends(world):
    """Who sends it back to us again and again is found out by its Received fields."""
    domain, (sink,) = world.domain({})
    text = "".join(f"Received: from a by b; {i}\r\n" for i in range(60)) + "Subject: x\r\n\r\nx\r\n"
    world.box.ctl("alias", "add", f"loop.{domain}@example.test", f"bob@{domain}")
    with pytest.raises(smtplib.SMTPDataError) as refused:
        deliver(world, "eve@elsewhere.test", f"loop.{domain}@example.test", text)
    assert refused.value.smtp_code == 554 and not sink.messages
