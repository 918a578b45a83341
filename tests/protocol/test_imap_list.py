"""LIST and LSUB: wildcards, selection and return options."""
import itertools
import re

import pytest

from imap_account import ImapAccount, fill

FIRST = ["Archive", "Drafts", "INBOX", "Junk", "Sent", "Trash"]


@pytest.fixture
def c(imap_account):
    return imap_account.open()


def entries(answer, word="LIST"):
    """[(name, {attribute}, rest)], in order."""
    found = []
    for line in answer.lines(word):
        m = re.fullmatch(r'\w+ \(([^)]*)\) "/" ("(?:[^"\\]|\\.)*"|\S+)(?: (.*))?', line.decode())
        name = m.group(2)
        if name.startswith('"'):
            name = re.sub(r"\\(.)", r"\1", name[1:-1])
        found.append((name, set(m.group(1).split()), m.group(3)))
    return found


def listed(session, arguments, word="LIST"):
    return [name for name, _, _ in entries(session.ok(f"{word} {arguments}"), word)]


def matches(pattern, name):
    """The rule, as slow as it likes: a wildcard stands for any characters, % not for '/'."""
    if name.split("/")[0] == "INBOX":
        same = next((i for i in range(5) if pattern[i:i + 1].upper() != "INBOX"[i]), 5)
        pattern = "INBOX"[:same] + pattern[same:]
    table = {(0, 0): True}

    def at(p, n):
        if (p, n) not in table:
            if p == 0:
                table[p, n] = False
            elif pattern[p - 1] in "*%":
                table[p, n] = at(p - 1, n) or (
                    n > 0 and (pattern[p - 1] == "*" or name[n - 1] != "/") and at(p, n - 1))
            else:
                table[p, n] = n > 0 and pattern[p - 1] == name[n - 1] and at(p - 1, n - 1)
        return table[p, n]

    return at(len(pattern), len(name))


def test_wildcards_against_the_rule(c):
    for name in ("a", "a/b", "a/b/c", "a/bb", "ab", "ab/c", "b/a/b", "INBOX/a", "aaa/aaa", "a b/c"):
        c.ok(f'CREATE "{name}"')
    every = listed(c, '"" "*"')
    assert every == sorted(every)
    patterns = ["".join(p) for n in (1, 2, 3) for p in itertools.product("ab/*%", repeat=n)]
    patterns += ["INBOX", "inbox", "Inbox/%", "iNb%", "i*", "in*x", "inbox%a", "*a*b*", "%/%/%", "a%b*", "%a/*c", "a b/%",
                 "**%%**", "%*", "*%", "a%%%%%%%b", "*/", "%/"]
    for pattern in patterns:
        expected = [name for name in every if matches(pattern, name)]
        assert listed(c, f'"" "{pattern}"') == expected, pattern


def test_reference_and_delimiter(c):
    c.ok("CREATE x/y/z")
    assert listed(c, '"x/" "%"') == ["x/y"]
    assert listed(c, 'x/y/ *') == ["x/y/z"]
    assert listed(c, '"x/y" "/z"') == ["x/y/z"]
    answer = c.ok('LIST "" ""')
    assert answer.lines("LIST") == [b'LIST (\\Noselect) "/" ""']
    assert c.ok('LIST "x" ""').lines("LIST") == [b'LIST (\\Noselect) "/" ""']
    assert c.ok('LSUB "" ""').lines("LSUB") == [b'LSUB (\\Noselect) "/" ""']
    for bad in ("LIST", 'LIST ""', 'LIST "" a b', 'LSUB "" (a b)', 'LIST "" (a', 'LIST "" ()',
                'LIST (NOTHING) "" *', 'LIST "" * RETURN (NOTHING)', 'LIST "" * RETURN',
                'LIST (RECURSIVEMATCH) "" *', 'LIST (RECURSIVEMATCH REMOTE) "" *',
                'LIST "" * RETURN (STATUS)', 'LIST "" * RETURN (STATUS ())'):
        assert c.run(bad).status == "BAD", bad


def test_hostile_patterns_are_no_work(c):
    """Nested wildcards over a long name: answered, and nothing matches wrongly."""
    c.ok(("CREATE ", b"a" * 399))
    for pattern in ("*a" * 190 + "b", "%a" * 190 + "b", "*%" * 450, "%" * 800, "a*" * 399 + "*",
                    "x" * 1100, "*" * 3000):
        answer = c.ok(("LIST \"\" ", pattern.encode()))
        found = len(answer.lines("LIST"))
        if set(pattern) <= set("*%") and len(pattern) < 1000:
            assert found == 7
        elif pattern.startswith("a*"):
            assert found == 1
        elif set(pattern) != {"*"}:
            assert found == 0


def test_children_and_special_use(c):
    c.ok("CREATE p/q")
    got = {name: attributes for name, attributes, _ in entries(c.ok('LIST "" *'))}
    assert "\\HasChildren" in got["p"] and "\\HasNoChildren" in got["p/q"]
    for name, use in (("Archive", "\\Archive"), ("Drafts", "\\Drafts"), ("Junk", "\\Junk"),
                      ("Sent", "\\Sent"), ("Trash", "\\Trash")):
        assert use in got[name]
    assert listed(c, '(SPECIAL-USE) "" *') == ["Archive", "Drafts", "Junk", "Sent", "Trash"]
    assert listed(c, '(SPECIAL-USE REMOTE) "" "*" RETURN (CHILDREN SPECIAL-USE)') == [
        "Archive", "Drafts", "Junk", "Sent", "Trash"]


def test_several_patterns_give_each_name_once(c):
    assert listed(c, '"" ("INBOX" "S%" "%")') == FIRST
    assert listed(c, '"" (Sent Junk nothing)') == ["Junk", "Sent"]
    assert c.run('LIST "" (' + " ".join(["x"] * 100) + ")").status == "BAD"


def test_subscribed(c):
    c.ok("CREATE s/one")
    c.ok("CREATE s/two")
    c.ok("SUBSCRIBE s/one")
    c.ok("SUBSCRIBE s/two")
    c.ok("DELETE s/two")
    got = {n: a for n, a, _ in entries(c.ok('LIST (SUBSCRIBED) "" *'))}
    assert set(got) == set(FIRST) | {"s/one", "s/two"}
    assert all("\\Subscribed" in a for a in got.values())
    assert "\\NonExistent" in got["s/two"] and "\\NonExistent" not in got["s/one"]
    # As a return option it selects nothing.
    got = {n: a for n, a, _ in entries(c.ok('LIST "" * RETURN (SUBSCRIBED)'))}
    assert "\\Subscribed" in got["s/one"] and "\\Subscribed" not in got["s"]
    assert "s/two" not in got
    assert "\\Subscribed" not in {n: a for n, a, _ in entries(c.ok('LIST "" *'))}["s/one"]


def test_recursivematch(c):
    c.ok("CREATE f/g/h")
    c.ok("SUBSCRIBE f/g/h")
    got = {n: (a, r) for n, a, r in entries(c.ok('LIST (SUBSCRIBED RECURSIVEMATCH) "" "%"'))}
    assert got["f"][1] == '("CHILDINFO" ("SUBSCRIBED"))'
    assert "\\Subscribed" not in got["f"][0]
    assert set(got) == set(FIRST) | {"f"}
    # What is told itself needs no word about it (RFC 5258 section 3.5).
    assert listed(c, '(SUBSCRIBED RECURSIVEMATCH) "" "f*"') == ["f/g/h"]
    c.ok("SUBSCRIBE f")
    got = {n: (a, r) for n, a, r in entries(c.ok('LIST (SUBSCRIBED RECURSIVEMATCH) "" "f*"'))}
    assert got["f"][1] == '("CHILDINFO" ("SUBSCRIBED"))' and got["f/g/h"][1] is None
    # Below a mailbox that is gone with all its levels.
    c.ok("CREATE gone/deep")
    c.ok("SUBSCRIBE gone/deep")
    c.ok("DELETE gone/deep")
    c.ok("DELETE gone")
    got = {n: (a, r) for n, a, r in entries(c.ok('LIST (SUBSCRIBED RECURSIVEMATCH) "" "g%"'))}
    assert got["gone"] == ({"\\NonExistent"}, '("CHILDINFO" ("SUBSCRIBED"))')
    c.ok("CREATE u/v (USE (\\Junk))")
    got = {n: r for n, _, r in entries(c.ok('LIST (SPECIAL-USE RECURSIVEMATCH) "" "u"'))}
    assert got == {"u": '("CHILDINFO" ("SPECIAL-USE"))'}


def test_lsub(c):
    c.ok("CREATE l/m/n")
    c.ok("CREATE l/o")
    c.ok("SUBSCRIBE l/m/n")
    assert listed(c, '"" "l*"', "LSUB") == ["l/m/n"]
    # RFC 3501 section 6.3.9: a level above what is subscribed to.
    got = {n: a for n, a, _ in entries(c.ok('LSUB "" "%"'), "LSUB")}
    assert got["l"] == {"\\Noselect"} and set(got) == set(FIRST) | {"l"}
    assert listed(c, '"" "l/%"', "LSUB") == ["l/m"]
    assert listed(c, '"" "l"', "LSUB") == []
    c.ok("SUBSCRIBE l")
    assert {n: a for n, a, _ in entries(c.ok('LSUB "" "%"'), "LSUB")}["l"] == set()


def test_list_status(imap_account):
    c = imap_account.open()
    c.ok("CREATE t/u/v")
    fill(c, "t/u/v", 2)
    c.ok("DELETE t/u")
    answer = c.ok('LIST "" "t*" RETURN (STATUS (MESSAGES UIDNEXT UNSEEN))')
    assert [x.split(b" ")[0] for x in answer.untagged] == [
        b"LIST", b"STATUS", b"LIST", b"LIST", b"STATUS"]
    assert answer.untagged[-1] == b"STATUS t/u/v (MESSAGES 2 UIDNEXT 3 UNSEEN 2)"
    # Not for what only stands above a match.
    c.ok("SUBSCRIBE t/u/v")
    answer = c.ok('LIST (SUBSCRIBED RECURSIVEMATCH) "" t RETURN (STATUS (MESSAGES))')
    assert not answer.lines("STATUS")


def test_many_mailboxes_to_a_slow_reader(appliance):
    """A long answer waits for its client, in order and complete."""
    account = ImapAccount(appliance)
    c = account.open()
    tags = [c.start(f"CREATE many/{n:04}-{'x' * 300}") for n in range(600)]
    for tag in tags:
        c.finish(tag)
    for _ in range(20):
        c.start('LIST "" "many/*" RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY UNSEEN SIZE))')
    tags = [f"a{c.number - 19 + n}".encode() for n in range(20)]
    for tag in tags:
        answer = c.finish(tag)
        assert answer.status == "OK"
        assert len(answer.lines("LIST")) == len(answer.lines("STATUS")) == 600
    account.close()
