"""Backup and restore in the web admin: made, read through, and mail put back, as a person would."""
import os
import shutil
import tempfile

import pytest

from appliance import PASSWORD, Appliance, free_ports
from imap_account import ImapAccount, status
from web import Browser

ADMIN = "root@example.test"
USER = "alice@example.test"


@pytest.fixture(scope="module")
def server():
    port, http = free_ports(2)
    folder = tempfile.mkdtemp(prefix="mailstead-backup-")
    os.chmod(folder, 0o755)
    with Appliance(settings={"web.port": str(port), "web.http_port": str(http)}) as running:
        running.ctl("account", "add", ADMIN, "--admin", "--password-stdin", secret=PASSWORD)
        running.web_port = port
        running.backup = f"{folder}/nightly"
        yield running
    shutil.rmtree(folder)


@pytest.fixture
def admin(server):
    browser = Browser(server.web_port)
    browser.sign_in(ADMIN, PASSWORD)
    return browser


def settled(server, browser):
    """The page when nothing is at work any more."""
    return server.wait_for(lambda: "is at work" not in browser.open("/backup").text and
                           browser.page)


def test_a_schedule_asks_for_the_password(server, admin):
    page = admin.open("/backup")
    assert "No backup is made" in page.text
    page = admin.submit("/backup/schedule", folder=server.backup, keep="3", password="wrong one")
    assert page.status == 409 and "wrong address or password" in page.text
    for bad, why in (("nightly", "expected an absolute path"), ("/no/such/disk", "is the disk mounted?")):
        admin.open("/backup")
        page = admin.submit("/backup/schedule", folder=bad, keep="3", password=PASSWORD)
        assert page.status == 409 and why in page.text, page.text
    admin.open("/backup")
    page = admin.submit("/backup/schedule", folder=server.backup, keep="3", password=PASSWORD)
    assert "Changed." in page.text
    assert server.ctl("get", "backup.folder")[0]["value"] == server.backup
    assert server.ctl("get", "backup.keep")[0]["value"] == "3"


def test_mail_that_was_lost_comes_back(server, admin):
    account = ImapAccount(server)
    session = account.open()
    for number in range(5):
        session.append("INBOX", b"Subject: number %d\r\n\r\nx\r\n" % number, "")
    session.ok("CREATE Projects")
    session.append("Projects", b"Subject: plan\r\n\r\nx\r\n", "")
    admin.open("/backup")
    page = admin.submit("/backup/make")
    assert "Begun." in page.text
    page = settled(server, admin)
    assert "looked at: all well" in page.text, page.text
    assert "6" in page.text and "days ago" in page.text
    page = admin.submit("/backup/verify")
    page = settled(server, admin)
    assert "every byte read: all well" in page.text
    assert "Everything works." in admin.open("/").text

    session.ok("DELETE Projects")
    session.ok("SELECT INBOX")
    session.ok("STORE 1:4 +FLAGS (\\Deleted)")
    session.ok("EXPUNGE")

    link = next(link for link in admin.open("/backup").parser.links if "restore?g=" in link)
    # One mailbox: asked twice, the second time with the password.
    admin.open(link)
    page = admin.submit("/backup/restore", address=account.address, mailbox="Projects")
    assert page.status == 200 and "Nothing has happened yet." in page.text
    page = admin.submit("/backup/restore-now", password=PASSWORD)
    assert page.status == 409 and "Tick the box" in page.text
    admin.open(link)
    admin.submit("/backup/restore", address=account.address, mailbox="Projects")
    page = admin.submit("/backup/restore-now", password="wrong one", sure="yes")
    assert page.status == 409 and "wrong address or password" in page.text
    admin.open(link)
    admin.submit("/backup/restore", address=account.address, mailbox="Projects")
    page = admin.submit("/backup/restore-now", password=PASSWORD, sure="yes")
    assert "Begun." in page.text
    page = settled(server, admin)
    assert "1 messages restored, 0 were there" in page.text, page.text
    # All accounts: what is there is not put there twice.
    admin.open(link)
    admin.submit("/backup/restore")
    admin.submit("/backup/restore-now", password=PASSWORD, sure="yes")
    assert "4 accounts restored" in settled(server, admin).text
    assert status(session, "INBOX", "MESSAGES")["MESSAGES"] == 5
    assert status(session, "Projects", "MESSAGES")["MESSAGES"] == 1
    account.close()


def test_what_cannot_be_restored(server, admin):
    admin.open("/backup/restore?g=20200101T000000Z")
    page = admin.submit("/backup/restore", mailbox="INBOX")
    assert page.status == 409 and "goes with one account" in page.text
    admin.open("/backup/restore?g=20200101T000000Z")
    admin.submit("/backup/restore", address=USER)
    admin.submit("/backup/restore-now", password=PASSWORD, sure="yes")
    assert "no such generation" in settled(server, admin).text


def test_a_folder_that_others_may_write_to_is_not_read(server, admin):
    os.chmod(server.backup, 0o777)
    page = admin.open("/backup")
    assert "others may write to it" in page.text
    assert "needs attention" in admin.open("/").text
    os.chmod(server.backup, 0o700)
