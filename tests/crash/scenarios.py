"""What clients do while the power may fail: each step writes what it was promised into the ledger."""
import functools
import json
import random
import re
import threading

from wire import Admin, Imap, Pop3, Refused, Smtp, letter, sum_of

ALICE, BOB = "alice@example.test", "bob@example.test"
PASSWORD, OTHER = "correct horse battery", "another horse battery"
STANDARD = ("Archive", "Drafts", "INBOX", "Junk", "Sent", "Trash")
FAR = "sink.test"  # the one domain elsewhere whose mail server answers
LARGE = 120_000  # does not fit inline: a file of its own


class Run:
    """A running appliance, its ledger, and the clients' steps."""

    def __init__(self, appliance, ledger, seed):
        self.appliance, self.ledger = appliance, ledger
        self.random = random.Random(seed)
        self.count = 0
        self.lock = threading.Lock()
        self.patience = 60
        self.tokens = {}  # recipient far away -> what was sent there last
        self.far = Far(self)

    def port(self, name):
        return self.appliance.ports[name]

    def number(self, address):
        return self.ledger.numbers[address]

    def token(self):
        with self.lock:
            self.count += 1
            return f"t{self.count}"

    def new_letter(self, size=0, sender="stranger@far.example"):
        token = self.token()
        text = letter(token, size, random.Random(f"{token}{size}"), sender)
        self.ledger.sums[token] = sum_of(text)
        return token, text

    def wait(self, what):
        """As long as nobody is hurt; else the next crash is not waited for."""
        try:
            self.appliance.wait_for(what, self.patience)
        except AssertionError as error:
            raise TimeoutError(str(error)) from error

    def queue(self):
        """Its rows; one that does not answer just now has one that was never tried."""
        done = self.appliance.run_ctl("queue", "list")
        return json.loads(done.stdout) if done.returncode == 0 else [
            {"class": "remote", "tries": 0, "recipient": ""}]

    def unique(self):
        with self.lock:
            self.count += 1
            return self.count

    def find_mailboxes(self, session, address=ALICE):
        """After a crash a client learns which of its unanswered changes took place."""
        begun, acked, _, found = session.command('LIST "" *')
        names = frozenset(line.split(b'" ', 1)[1].strip(b'"').decode() for line in found
                          if line.startswith(b"* LIST"))
        register = ("mailboxes", self.number(address))
        allowed = self.ledger.may_be(register)
        assert names in allowed, (names, allowed)
        self.ledger.write(register, names, begun, acked)

    def new_mailbox(self, session, address=ALICE):
        """A mailbox that no other step uses."""
        name = f"Box{self.unique()}"
        register = ("mailboxes", self.number(address))
        self.find_mailboxes(session, address)
        self.attempt(session, f"CREATE {name}",
                     [(register, self.ledger.value(register) | {name})])
        return name

    def find_certificate(self, admin):
        """What index says now: after a crash an unanswered change may have taken place."""
        slots = {}
        with open(f"{self.appliance.state}/keys/default/index", encoding="ascii") as index:
            for line in index.readlines()[1:]:
                slot, number, _ = line.split()
                slots[slot] = int(number)
        now = tuple(slots.get(slot, 0) for slot in ("current", "previous", "candidate"))
        allowed = self.ledger.may_be(("cert", "default"))
        assert now in allowed, (now, allowed)
        # A mark of a new connection is of the beginning: only for what is not known otherwise.
        if len(allowed) > 1:
            self.ledger.write(("cert", "default"), now, admin.mark(), admin.mark())
        return now

    def find_signing_keys(self, admin):
        """The same of the keys of example.test: a letter for each, what it is for."""
        register = ("dkim", "example.test")
        with open(f"{self.appliance.state}/keys/_dkim/example.test.pem", "rb") as file:
            now = signing_keys(file.read())
        assert now in self.ledger.may_be(register), (now, self.ledger.may_be(register))
        self.ledger.write(register, now, admin.mark(), admin.mark())
        return now

    # --- SMTP -----------------------------------------------------------------------------------
    def accept(self, session, recipients, size=0, sender="stranger@far.example", told=()):
        """One message; remote recipients stay in the queue until somebody answers."""
        token, text = self.new_letter(size, sender)
        self.tokens.update((recipient, token) for recipient in recipients)
        begun, finish = session.message(sender, recipients, text, told)
        acked = None
        try:
            acked = finish()
        finally:
            for recipient in recipients:
                register = ("place", self.number(recipient), token) \
                    if recipient in self.ledger.numbers else ("remote", recipient, token)
                value = ("INBOX",) if recipient in self.ledger.numbers else ("queue",)
                self.ledger.write(register, value, begun, acked)
        return token

    # --- administration -------------------------------------------------------------------------
    def admin(self):
        return Admin(f"{self.appliance.folder}/run/authd/admin.sock")

    def ask(self, admin, words, writes, secret=""):
        begun = admin.mark()
        acked = None
        try:
            admin.verb(*words, secret=secret)
            acked = admin.mark()
        finally:
            for register, value in writes:
                self.ledger.write(register, value, begun, acked)

    def learn(self, address):
        """An account's number."""
        row = self.appliance.ctl("account", "show", address)[0]
        self.ledger.numbers[address] = int(row.get("number") or row.get("account"))

    # --- IMAP -----------------------------------------------------------------------------------
    def imap(self, address=ALICE):
        return Imap(self.port("imap-open"), address, PASSWORD)

    def places(self, address, token):
        return self.ledger.value(("place", self.number(address), token), ())

    def moved(self, address, token, value, begun, acked):
        self.ledger.write(("place", self.number(address), token), tuple(sorted(value)), begun,
                          acked)

    def attempt(self, session, text, writes):
        """A command; writes [(register, value)] are what it promises, also if it is cut off."""
        begun, tag = session.start(text)
        acked = None
        try:
            answer, untagged = session.answer(tag)
            if answer.startswith(b"OK"):
                acked = session.mark()
            else:
                writes = []
                raise Refused(answer)
            return begun, acked, answer, untagged
        finally:
            for register, value in writes:
                self.ledger.write(register, value, begun, acked)

    def append(self, session, mailbox, flags=(), size=0, address=ALICE):
        token, text = self.new_letter(size)
        number = self.number(address)
        head = f'APPEND "{mailbox}" ({" ".join(flags)}) {{{len(text)}+}}\r\n'.encode()
        writes = [(("place", number, token), (mailbox,)),
                  (("flags", number, mailbox, token), frozenset(flags))]
        begun, acked, answer, _ = self.attempt(session, head + text, writes)
        uid = int(re.search(rb"APPENDUID \d+ (\d+)", answer)[1])
        self.ledger.write(("uid", number, mailbox, token), uid, begun, acked)
        return token, uid


class Far:
    """The server elsewhere: what it takes, refuses and puts off goes into the ledger as it happens,
    by the bytes that it has read."""

    def __init__(self, run):
        self.run, self.sink = run, run.appliance.sink
        self.sink.replies["END"] = self.take
        self.taken = {}   # (recipient, token) -> crashes() at each time
        self.wrong = []
        self.crashes = lambda: 0

    @staticmethod
    def mark(session):
        return ("out", session.sock.getpeername()[1]), session.taken

    def script(self, *replies):
        """A recipient who gets these, one a try; None: taken."""
        address = f"u{self.run.unique()}@{FAR}"
        left = [functools.partial(self.rcpt, address, number, reply)
                for number, reply in enumerate(replies, 1)]
        self.sink.replies[f"RCPT {address}"] = left
        return address

    def rcpt(self, address, tries, reply, session):
        ledger, token = self.run.ledger, self.run.tokens[address]
        mark = self.mark(session)
        # Nobody is asked before it is written down that he will be.
        ledger.follow(("tries", address, token), tries, mark, mark)
        if reply and reply.startswith("5"):
            ledger.follow(("remote", address, token), ("notice",), mark)
        session.send((reply or "250 ok") + "\r\n")
        return reply is None

    def take(self, session):
        message = session.message
        token = re.search(rb"^X-Token: (\S+)\r$", message.data, re.M)[1].decode()
        if sum_of(message.data) != self.run.ledger.sums[token]:
            self.wrong.append(f"{token} is not the message that was sent")
        for recipient in message.recipients:
            value = ("notice",) if recipient.startswith("told") else ()
            self.run.ledger.follow(("remote", recipient, token), value, self.mark(session))
            self.taken.setdefault((recipient, token), []).append(self.crashes())
        session.send("250 2.0.0 taken\r\n")
        return True

    def has(self, *recipients):
        got = {recipient for recipient, _ in self.taken}
        return all(recipient in got for recipient in recipients)


# --- what one account does ------------------------------------------------------------------------
def smtp_in(run):
    """Strangers on 25: one after the other, small and large, for one and for several."""
    session = Smtp(run.port("smtp"))
    for size, recipients in ((0, [BOB]), (0, [ALICE, BOB]), (LARGE, [BOB]), (0, [BOB]),
                             (LARGE, [ALICE, BOB]), (2000, [ALICE])):
        run.accept(session, recipients, size)
    session.close()


def smtp_crowd(run):
    """Many at once: group commits."""
    failed = []

    def sender(count):
        try:
            session = Smtp(run.port("smtp"))
            for _ in range(count):
                run.accept(session, [BOB] if count % 2 else [ALICE, BOB])
            session.close()
        except Exception as error:  # told by the caller's thread
            failed.append(error)

    threads = [threading.Thread(target=sender, args=(2 + i % 2,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def submission(run):
    """Users may send anywhere: what goes elsewhere stays in the queue."""
    session = Smtp(run.port("submission-open"), (ALICE, PASSWORD))
    run.accept(session, ["x@far.example"], sender=ALICE)
    run.accept(session, [BOB, "y@far.example", "z@other.example"], LARGE, sender=ALICE)
    session.close()
    # The first try is over: nobody there, later again.
    run.wait(lambda: all(row["tries"] > 0 for row in run.queue() if row["class"] == "remote"))


def sending(run):
    """To a server elsewhere: taken, put off and tried again, refused, taken by one that tells nobody:
    what is not there yet is here, and what goes wrong is told once."""
    far = run.far
    session = Smtp(run.port("submission-open"), (ALICE, PASSWORD))
    good, late = far.script(None), far.script("451 4.2.0 later", None)
    bad, large = far.script("550 5.1.1 nobody here"), far.script(None)
    told = f"told{run.unique()}@{FAR}"
    run.accept(session, [good, late], sender=ALICE)
    run.accept(session, [bad], sender=ALICE)
    run.accept(session, [told], sender=ALICE, told=[told])
    run.accept(session, [BOB, large], LARGE, sender=ALICE)
    session.close()

    def rows():
        done = run.appliance.run_ctl("queue", "list")
        found = json.loads(done.stdout) if done.returncode == 0 else []
        return {row["recipient"]: row for row in found if row["recipient"].endswith("@" + FAR)}

    def is_put_off():
        """Only the one that waits for its next try is left."""
        left = rows()
        return far.has(good, large, told) and list(left) == [late] and left[late]["reply"]

    run.wait(is_put_off)
    run.appliance.run_ctl("queue", "retry", rows()[late]["id"])
    run.wait(lambda: far.has(late) and not rows())
    # The notices are mail to us.
    imap = run.imap()
    wanted = [address.encode() for address in (bad, told)]

    def is_told():
        imap.command("EXAMINE INBOX")
        found = imap.command("UID FETCH 1:* BODY.PEEK[2]")[3]
        return all(any(b"; %s\r" % address in row for row in found) for address in wanted)

    run.wait(is_told)
    imap.close()


def imap_append(run):
    session = run.imap()
    session.command("SELECT Archive")
    for flags, size in (((), 0), (("\\Seen",), 0), (("\\Flagged", "\\Draft"), LARGE), ((), 3000)):
        run.append(session, "Archive", flags, size)
    session.close()


def imap_flags(run):
    number = run.number(ALICE)
    session = run.imap()
    tokens = [run.append(session, "Drafts") for _ in range(4)]
    session.command("SELECT Drafts")
    now = frozenset()
    for token, uid in tokens:
        for change, flag in (("+", "\\Seen"), ("+", "\\Flagged"), ("-", "\\Seen"), ("", "\\Answered")):
            now = {"+": now | {flag}, "-": now - {flag}, "": frozenset({flag})}[change]
            run.attempt(session, f"UID STORE {uid} {change}FLAGS.SILENT ({flag})",
                        [(("flags", number, "Drafts", token), now)])
        now = frozenset()
    session.close()


def imap_copy_move(run):
    number = run.number(ALICE)
    session = run.imap()
    box = run.new_mailbox(session)
    tokens = [run.append(session, "Sent", size=LARGE if i == 1 else 0) for i in range(4)]
    session.command("SELECT Sent")
    uids = ",".join(str(uid) for _, uid in tokens)
    run.attempt(session, f"UID COPY {uids} {box}",
                [(("place", number, token), (box, "Sent")) for token, _ in tokens])
    run.attempt(session, f"UID MOVE {uids} Archive",
                [(("place", number, token), ("Archive", box)) for token, _ in tokens])
    session.command(f"SELECT {box}")
    run.attempt(session, "UID MOVE 1:* Trash",
                [(("place", number, token), ("Archive", "Trash")) for token, _ in tokens])
    session.close()


def imap_expunge(run):
    number = run.number(ALICE)
    session = run.imap()
    box = run.new_mailbox(session)
    tokens = [run.append(session, box, size=LARGE if i == 2 else 0) for i in range(5)]
    session.command(f"SELECT {box}")
    gone = [tokens[1], tokens[2], tokens[4]]
    uids = ",".join(str(uid) for _, uid in gone)
    run.attempt(session, f"UID STORE {uids} +FLAGS.SILENT (\\Deleted)",
                [(("flags", number, box, token), frozenset({"\\Deleted"}))
                 for token, _ in gone])
    run.attempt(session, f"UID EXPUNGE {gone[0][1]}", [(("place", number, gone[0][0]), ())])
    run.attempt(session, "EXPUNGE", [(("place", number, token), ()) for token, _ in gone[1:]])
    session.close()


def pop3_quit(run):
    """Deletions happen at QUIT, all of them or none."""
    number = run.number(BOB)
    sender = Smtp(run.port("smtp"))
    tokens = [run.accept(sender, [BOB], LARGE if i == 1 else 0) for i in range(3)]
    sender.close()
    imap = run.imap(BOB)

    def arrived():
        imap.command("NOOP")
        _, _, _, found = imap.command("EXAMINE INBOX")
        _, _, _, rows = imap.command("UID FETCH 1:* BODY.PEEK[HEADER.FIELDS (X-Token)]")
        return all(any(b"X-Token: %s\r" % t.encode() in row for row in rows) for t in tokens)

    run.appliance.wait_for(arrived)
    imap.close()
    session = Pop3(run.port("pop3-open"), BOB, PASSWORD)
    session.command("STAT")
    session.command("LIST")
    count = len(session.lines())
    mine = {}
    for index in range(1, count + 1):
        session.command(f"TOP {index} 0")
        for line in session.lines():
            if line.startswith(b"X-Token: ") and line[9:].decode() in tokens:
                mine[index] = line[9:].decode()
    for index in mine:
        session.command(f"DELE {index}")
    begun = session.mark()
    acked = None
    try:
        session.command("QUIT")
        acked = session.mark()
    finally:
        for token in mine.values():
            run.ledger.write(("place", number, token), (), begun, acked)
    session.close()


def imap_mailboxes(run):
    """Create, rename with messages in it, delete."""
    number = run.number(ALICE)
    session = run.imap()
    register = ("mailboxes", number)

    top, moved = f"Work{run.unique()}", f"Play{run.unique()}"

    def names():
        return run.ledger.value(register)

    def change(text, after, more=()):
        run.attempt(session, text, [(register, frozenset(after)), *more])

    run.find_mailboxes(session)
    change(f'CREATE "{top}"', names() | {top})
    change(f'CREATE "{top}/Deep"', names() | {f"{top}/Deep"})
    token, _ = run.append(session, top)
    deep, _ = run.append(session, f"{top}/Deep", size=LARGE)
    change(f'RENAME "{top}" "{moved}"',
           (names() - {top, f"{top}/Deep"}) | {moved, f"{moved}/Deep"},
           [(("place", number, token), (moved,)), (("place", number, deep), (f"{moved}/Deep",))])
    change(f'DELETE "{moved}/Deep"', names() - {f"{moved}/Deep"}, [(("place", number, deep), ())])
    change(f'DELETE "{moved}"', names() - {moved}, [(("place", number, token), ())])
    session.close()


def undelete(run):
    """Expunged messages come back, and a deleted mailbox with what was in it."""
    number = run.number(ALICE)
    session, admin = run.imap(), run.admin()
    box, gone = run.new_mailbox(session), run.new_mailbox(session)
    token, uid = run.append(session, box)
    other, _ = run.append(session, gone, size=LARGE)
    session.command(f"SELECT {box}")
    run.attempt(session, f"UID STORE {uid} +FLAGS.SILENT (\\Deleted)",
                [(("flags", number, box, token), frozenset({"\\Deleted"}))])
    run.attempt(session, f"UID EXPUNGE {uid}", [(("place", number, token), ())])
    # At the end of its mailbox, with another UID.
    back = [(("place", number, token), (box,)), (("uid", number, box, token), uid + 1),
            (("flags", number, box, token), frozenset())]
    run.ask(admin, ("undelete", "mailbox", ALICE, box), back)
    register = ("mailboxes", number)
    names = run.ledger.value(register)
    run.attempt(session, f"DELETE {gone}",
                [(register, names - {gone}), (("place", number, other), ())])
    run.ask(admin, ("undelete", "mailbox", ALICE, gone),
            [(register, names), (("place", number, other), (gone,))])
    session.close()
    admin.close()


def signing_keys(text):
    """"ccnn": two keys sign, two are published and wait; "o" is for those that signed before."""
    keys = text.decode("latin-1").split("-----END PRIVATE KEY-----\n")
    heads = [key.replace("mailstead-dkim 1\n", "").split("\n")[0].split(" ") for key in keys[:-1]]
    if keys[-1] or not all(len(head) == 5 and head[0] == "key" for head in heads):
        return "damaged"
    return "".join(head[2][0] for head in heads)


def rotation(run):
    """New keys for signatures, taken into use, and others, given up."""
    register, domain = ("dkim", "example.test"), "example.test"
    admin = run.admin()
    now = run.find_signing_keys(admin)
    if "n" in now:
        now = now.replace("n", "")
        run.ask(admin, ("dkim", "cancel", domain), [(register, now)])
    for verb in (("activate", domain, "--force"), ("cancel", domain)):
        fresh = (now if len(now) < 8 else now[2:]) + "nn"
        run.ask(admin, ("dkim", "rotate", domain), [(register, fresh)])
        now = fresh.replace("c", "o").replace("n", "c") if verb[0] == "activate" \
            else fresh.replace("n", "")
        run.ask(admin, ("dkim", *verb), [(register, now)])
    admin.close()


def certificate(run):
    """A new one, taken into use, and the step back."""
    register = ("cert", "default")
    admin = run.admin()
    now = run.find_certificate(admin)
    fresh = max(now) + 1
    run.ask(admin, ("cert", "new", "default"), [(register, (now[0], now[1], fresh))])
    run.ask(admin, ("cert", "install", "default"), [(register, (fresh, now[0], 0))])
    run.ask(admin, ("cert", "rollback", "default"), [(register, (now[0], fresh, 0))])
    admin.close()


def refused_append(run):
    """Three messages in one APPEND, the last with more keywords than a mailbox has room for: all or
    none of them, whatever other operations of the same batch do."""
    number = run.number(ALICE)
    session, others = run.imap(), [run.imap() for _ in range(4)]
    keywords = " ".join(f"keyword{i}" for i in range(70)).encode()
    for _ in range(4):
        refused = b"APPEND Junk"
        for flags in (b"", b"", keywords):
            _, text = run.new_letter()
            refused += b" (%s) {%d+}\r\n" % (flags, len(text)) + text
        appended = []
        # All at once, so that they become one transaction.
        for i, other in enumerate(others):
            if i == 2:
                _, tag = session.start(refused)
            token, text = run.new_letter()
            appended.append((other, token, *other.start(b"APPEND Junk () {%d+}\r\n" % len(text)
                                                        + text)))
        answer, _ = session.answer(tag)
        assert answer.startswith(b"NO"), answer
        for other, token, begun, mine in appended:
            acked = None
            try:
                answer, _ = other.answer(mine)
                assert answer.startswith(b"OK"), answer
                acked = other.mark()
            finally:
                run.ledger.write(("place", number, token), ("Junk",), begun, acked)
    for other in [session, *others]:
        other.close()


def administration(run):
    """Password, account, alias, setting."""
    admin = run.admin()
    for secret in (OTHER, PASSWORD):
        run.ask(admin, ("account", "password", BOB), [(("password", BOB), secret)], secret)
    team, carol = (f"{name}{run.unique()}@example.test" for name in ("team", "carol"))
    steps = ((("alias", "add", team, ALICE, BOB), ("alias", team), True),
             (("account", "add", carol), ("account", carol), True),
             (("set", "smtp.recipients_max", "150"), ("setting", "smtp.recipients_max"), "150"),
             (("set", "smtp.recipients_max", "250"), ("setting", "smtp.recipients_max"), "250"),
             (("alias", "remove", team), ("alias", team), False),
             (("unset", "smtp.recipients_max"), ("setting", "smtp.recipients_max"), None),
             (("account", "remove", carol), ("account", carol), False))
    for words, register, value in steps:
        run.ask(admin, words, [(register, value)],
                PASSWORD if words[:2] == ("account", "add") else "")
    admin.close()


def upgrade(run):
    """Every program is executed anew while clients go on: who is there stays, who comes is served."""
    programs = ("authd", "smtpd-receive", "smtpd-local", "imapd-worker")
    before = run.appliance.pids()
    old = run.imap()
    sender = Smtp(run.port("smtp"))
    run.append(old, "Archive")
    run.accept(sender, [BOB, ALICE], LARGE)
    run.appliance.run_ctl("upgrade")
    sender.close()
    run.append(old, "Archive", size=LARGE)

    def is_new():
        now = run.appliance.pids()
        return all(now.get(program) not in (None, before.get(program)) for program in programs)

    run.wait(is_new)
    run.append(old, "Archive")
    old.close()
    smtp_in(run)


def install(run):
    """The very first start: the first account, and its first mail."""
    admin = run.admin()
    admin.verb("domain", "add", "example.test")
    for address in (ALICE, BOB):
        run.ask(admin, ("account", "add", address), [(("account", address), True)], PASSWORD)
        run.learn(address)
    admin.close()
    smtp_in(run)
    session = run.imap()
    run.append(session, "INBOX", ("\\Seen",), LARGE)
    session.close()


SCENARIOS = {f.__name__: f for f in (smtp_in, smtp_crowd, submission, sending, imap_append, imap_flags,
                                     imap_copy_move, imap_expunge, pop3_quit, imap_mailboxes,
                                     undelete, refused_append, administration, certificate,
                                     rotation,
                                     upgrade)}
# These need a beginning of their own.
SPECIAL = {"install": install, "compact": None, "backup": None, "restore": None, "recover": None}
