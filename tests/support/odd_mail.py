"""Real mail is odd: hand-made messages, and generated ones, for comparing mail readers."""
import random

CRLF = "\r\n"


def lines(*parts):
    return CRLF.join(parts).encode("latin-1") + b"\r\n"


HAND_MADE = {
    "plain": lines("From: Bob <bob@example.test>", "To: alice@example.test", "Subject: plain",
                   "Date: Thu, 1 Jan 2026 10:20:30 +0100", "Message-ID: <plain@example.test>",
                   "", "Hello world", "second line"),
    "empty body": lines("Subject: nothing", ""),
    "no body, no empty line": b"Subject: header only\r\n",
    "no header at all": lines("", "just text", "and more"),
    "text from the start": lines("this is no header", "at all", "", "body"),
    "mbox leftover": lines("From bob@example.test Thu Jan  1 00:00:00 2026",
                           "From: bob@example.test", "Subject: after an mbox line", "", "text"),
    "escaped mbox leftover": lines(">From bob@example.test Thu Jan  1 00:00:00 2026",
                                   "From: bob@example.test", "Subject: escaped", "", "text"),
    "no colon in the middle": lines("From: bob@example.test", "this line has no colon",
                                    "Subject: after it", "", "text"),
    "space before the colon": lines("From : bob@example.test", "Subject  : spaced",
                                    "Date\t: Thu, 1 Jan 2026 00:00:00 +0000", "", "text"),
    "duplicate headers": lines("From: first@example.test", "From: second@example.test",
                               "Subject: first", "Subject: second", "To: a@example.test",
                               "To: b@example.test", "Cc: c@example.test", "Cc: d@example.test",
                               "Date: Thu, 1 Jan 2026 00:00:00 +0000",
                               "Date: Fri, 2 Jan 2026 00:00:00 +0000",
                               "Message-ID: <one@x>", "Message-ID: <two@x>", "", "text"),
    "empty fields": lines("From:", "To:", "Subject:", "Date:", "Message-ID:", "Cc: ", "", "text"),
    "folded": lines("From: Bob", " <bob@example.test>", "Subject: a long", "\tsubject",
                    "  with folds", "To: a@example.test,", "\tb@example.test,", " c@example.test",
                    "", "text"),
    "folded with blanks only": lines("Subject: one", " ", "\t", " two", "From: a@b", "", "text"),
    "8-bit headers": lines("From: B\xf6b <bob@example.test>", "Subject: \xe4\xf6\xfc",
                           "To: \xc3\xa4 <a@example.test>", "", "caf\xe9"),
    "utf-8 headers": ("From: Bób <bob@example.test>\r\nSubject: größer ß\r\n\r\n"
                      "naïve\r\n").encode(),
    "encoded words": lines("From: =?utf-8?q?B=C3=B6b?= <bob@example.test>",
                           "Subject: =?iso-8859-1?q?Gr=FC=DFe?= and", " =?utf-8?b?w6TDtsO8?=",
                           " =?utf-8?b?w6Q=?=", "", "text"),
    "broken encoded words": lines("Subject: =?utf-8?q?open", "From: =?nonsense?x?y?= <a@b>",
                                  "To: =?utf-8?b?!!!?= <c@d>", "Cc: =?utf-8?q??= <e@f>", "",
                                  "text"),
    "unknown charset": lines("Subject: =?x-unknown-charset?q?abc=E4?=",
                             "Content-Type: text/plain; charset=x-unknown-charset", "",
                             "abc \xe4"),
    "groups": lines("From: bob@example.test", "To: friends: a@x, B <b@y>;, c@z",
                    "Cc: nobody:;", "Bcc: a: b@c; d: e@f;", "Subject: groups", "", "text"),
    "unclosed group": lines("To: friends: a@x, b@y", "From: a@b", "", "text"),
    "comments": lines("From: bob@example.test (Bob the (nested) Builder)",
                      "To: (before) a@b (after), \"quoted (no comment)\" <c@d>",
                      "Subject: (a comment?) text", "", "text"),
    "unterminated comment": lines("From: bob@example.test (Bob", "To: a@b (open (deeper)",
                                  "Cc: (x", "", "text"),
    "unterminated quote": lines('From: "Bob <bob@example.test>', 'To: "a" "b <c@d>', "", "text"),
    "quoted specials": lines('From: "Bob, \\"the\\\\ man\\"" <bob@example.test>',
                             'To: "a b"@example.test, <"c d"@example.test>', "", "text"),
    "addresses without a domain": lines("From: bob", "To: alice, <carol>, Dave <dave>", "", "t"),
    "routes": lines("From: <@relay.test,@other.test:bob@example.test>", "To: <@a:b@c>", "", "t"),
    "address rubbish": lines("From: <>", "To: ,,,", "Cc: @", "Bcc: <<a@b>>", "Reply-To: a@b@c",
                             "Sender: ;", "", "text"),
    "dots": lines("From: a.b.c@example.test", "To: .a@b, a.@b, a..b@c", "Cc: J. R. <jr@x>", "",
                  "text"),
    "domain literals": lines("From: bob@[192.0.2.1]", "To: a@[IPv6:2001:db8::1]", "", "text"),
    "sender and reply-to": lines("From: a@x, b@y", "Sender: s@x", "Reply-To: r@x",
                                 "In-Reply-To: <i@x> <j@x>", "References: <i@x>", "", "text"),
    "empty sender": lines("From: a@x", "Sender:", "Reply-To: ", "", "text"),
    "odd dates": lines("Date: Thu, 1 Jan 26 00:00 EST", "From: a@b", "", "text"),
    "date with comment": lines("Date: 2 Feb 2020 03:04:05 -0700 (MST)", "From: a@b", "", "text"),
    "bad date": lines("Date: yesterday, about noon", "From: a@b", "", "text"),
    "date far away": lines("Date: Mon, 1 Jan 1900 00:00:00 +0000", "From: a@b", "", "text"),
    "day without zero": lines("Date: Sun, 8 Mar 2020 23:59:60 +0000", "From: a@b", "", "text"),
    "late evening": lines("Date: Sun, 8 Mar 2020 23:30:00 -0800", "From: a@b", "", "text"),
    "multipart": lines("From: a@b", "MIME-Version: 1.0",
                       "Content-Type: multipart/mixed; boundary=\"=_x\"", "", "preamble",
                       "--=_x", "Content-Type: text/plain; charset=us-ascii", "", "first part",
                       "--=_x", "Content-Type: text/html", "Content-Transfer-Encoding: base64",
                       "Content-Disposition: attachment; filename=\"a b.html\"",
                       "Content-ID: <cid@x>", "Content-Description: a thing",
                       "Content-Language: en, de", "Content-Location: http://x/",
                       "Content-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==", "",
                       "PGI+Ym9sZDwvYj4=", "--=_x--", "epilogue"),
    "nested multipart": lines("Content-Type: multipart/mixed; boundary=out", "", "--out",
                              "Content-Type: multipart/alternative; boundary=in", "", "--in", "",
                              "plain", "--in", "Content-Type: text/html", "", "<p>html</p>",
                              "--in--", "--out", "Content-Type: application/pdf; name=x.pdf",
                              "Content-Transfer-Encoding: base64", "", "JVBERi0=", "--out--"),
    "boundary that is a prefix": lines("Content-Type: multipart/mixed; boundary=a", "", "--a", "",
                                       "outer 1", "--a",
                                       "Content-Type: multipart/mixed; boundary=ab", "", "--ab",
                                       "", "inner", "--ab--", "--a", "", "outer 3", "--a--"),
    "missing last boundary": lines("Content-Type: multipart/mixed; boundary=x", "", "--x", "",
                                   "one", "--x", "", "two"),
    "boundary never comes": lines("Content-Type: multipart/mixed; boundary=x", "", "no part",
                                  "at all"),
    "no boundary parameter": lines("Content-Type: multipart/mixed", "", "--x", "", "one", "--x--"),
    "empty boundary": lines("Content-Type: multipart/mixed; boundary=\"\"", "", "--", "", "one",
                            "----"),
    "boundary with spaces behind": lines("Content-Type: multipart/mixed; boundary=x", "",
                                         "--x  ", "", "one", "--x\t", "", "two", "--x-- "),
    "parts without headers": lines("Content-Type: multipart/mixed; boundary=x", "", "--x", "",
                                   "--x", "", "", "--x--"),
    "part header only": lines("Content-Type: multipart/mixed; boundary=x", "", "--x",
                              "Content-Type: text/plain", "--x", "Content-Type: text/html",
                              "--x--"),
    "inner one not closed": lines("Content-Type: multipart/mixed; boundary=out", "", "--out",
                                  "Content-Type: multipart/mixed; boundary=in", "", "--in", "",
                                  "one", "--out", "", "two", "--out--"),
    "message/rfc822": lines("Content-Type: message/rfc822", "Subject: outer", "",
                            "Subject: inner", "From: i@x", "To: j@x",
                            "Date: Thu, 1 Jan 2026 00:00:00 +0000", "", "inner text"),
    "attached message": lines("Content-Type: multipart/mixed; boundary=x", "", "--x", "", "see",
                              "--x", "Content-Type: message/rfc822",
                              "Content-Disposition: attachment", "",
                              "From: Inner <i@x>", "Subject: inner multipart",
                              "Content-Type: multipart/alternative; boundary=y", "", "--y", "",
                              "inner plain", "--y", "Content-Type: text/html", "",
                              "<i>inner html</i>", "--y--", "--x--"),
    "message in a message": lines("Content-Type: message/rfc822", "", "Content-Type: message/rfc822",
                                  "Subject: middle", "", "Subject: innermost", "", "deep"),
    "empty attached message": lines("Content-Type: multipart/mixed; boundary=x", "", "--x",
                                    "Content-Type: message/rfc822", "", "--x--"),
    "digest": lines("Content-Type: multipart/digest; boundary=x", "", "--x", "",
                    "Subject: one", "", "text one", "--x", "Content-Type: text/plain", "",
                    "not a message", "--x--"),
    "delivery status": lines("Content-Type: multipart/report; report-type=delivery-status;",
                             "\tboundary=\"x\"", "", "--x", "", "It failed.", "--x",
                             "Content-Type: message/delivery-status", "",
                             "Reporting-MTA: dns; x", "", "Final-Recipient: rfc822; a@b", "--x",
                             "Content-Type: text/rfc822-headers", "", "Subject: lost", "--x--"),
    "rfc 2231": lines("Content-Type: application/octet-stream;",
                      " name*0*=utf-8''na%C3%AF; name*1*=ve%20; name*2=\"file.txt\"",
                      "Content-Disposition: attachment; filename*=iso-8859-1'en'gr%FC%DFe.txt",
                      "", "data"),
    "encoded word in a parameter": lines("Content-Type: text/plain; "
                                         "name=\"=?utf-8?q?=C3=A4.txt?=\"", "", "text"),
    "odd content types": lines("Content-Type: text", "", "text"),
    "content type rubbish": lines("Content-Type: ;;; charset=x", "", "text"),
    "content type upper case": lines("CONTENT-TYPE: TEXT/HTML; CHARSET=UTF-8", "", "<p>TEXT</p>"),
    "content type with comment": lines("Content-Type: text/plain (really); charset=utf-8 (it is)",
                                       "", "text"),
    "parameters without values": lines("Content-Type: text/plain; charset; format=flowed; =x; a=",
                                       "", "text"),
    "unquoted parameter": lines("Content-Type: text/plain; name=my file.txt; charset=utf-8", "",
                                "text"),
    "two content types": lines("Content-Type: text/html", "Content-Type: text/plain", "", "text"),
    "odd encodings": lines("Content-Transfer-Encoding: x-uuencode", "", "begin 644 x", "end"),
    "encoding with comment": lines("Content-Transfer-Encoding: (c) quoted-printable (d)", "",
                                   "a=3Db"),
    "upper case encoding": lines("Content-Transfer-Encoding: BASE64", "", "SGVsbG8="),
    "disposition rubbish": lines("Content-Disposition: ; filename=x", "", "text"),
    "image": lines("Content-Type: image/png; name=x.png", "Content-Transfer-Encoding: base64", "",
                   "iVBORw0KGgo="),
    "quoted-printable": lines("Content-Type: text/plain; charset=iso-8859-1",
                              "Content-Transfer-Encoding: quoted-printable", "",
                              "Gr=FC=DFe aus M=FCn=", "chen =3D =20", "end=zz"),
    "base64 in odd lines": lines("Content-Type: text/plain; charset=utf-8",
                                 "Content-Transfer-Encoding: base64", "",
                                 "R3LDvMOfZSBhd", "XMgTcO8bmNoZW4", "="),
    "koi8-r": lines("Content-Type: text/plain; charset=koi8-r",
                    "Subject: =?koi8-r?B?8NLJ18XU?=", "", "\xf0\xd2\xc9\xd7\xc5\xd4"),
    "iso-2022-jp": lines("Content-Type: text/plain; charset=iso-2022-jp",
                         "Subject: =?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "",
                         "\x1b$BF|K\\\x1b(B text"),
    "utf-16": b"Content-Type: text/plain; charset=utf-16le\r\n"
              b"Content-Transfer-Encoding: base64\r\n\r\nSABlAGwAbABvAA==\r\n",
    "html": lines("Content-Type: text/html; charset=utf-8", "",
                  "<html><body class=\"findme\"><p>bold <b>text</b></p></body></html>"),
    "long subject": lines("Subject: " + "word " * 250, "From: a@b", "", "text"),
    "long line": lines("Subject: long line", "", "x" * 5000 + " needle " + "y" * 5000),
    "nearly a needle": lines("Subject: repeat", "", "nenenenee needneedle", "neednee", "dle"),
    "header name only": lines("X", "Subject: s", "", "text"),
    "colon first": lines(": value", "Subject: s", "", "text"),
    "control characters": b"Subject: a\x01b\x7fc\td\r\nFrom: x\x02 <a@b>\r\n\r\nt\x03t\r\n",
    "list mail": lines("Subject: [list] Re: [list] Fwd: topic (fwd)", "List-Id: <list.x>",
                       "From: a@b", "", "text"),
    "from other mailers": lines("From: =?utf-8?Q?J=C3=BCrgen_M?= =?utf-8?Q?=C3=BCller?= <j@x>",
                                "To: undisclosed-recipients:;", "Subject: Re: WG: AW: hallo",
                                "X-Priority: 3", "", "text"),
}
# Lines that end in LF only: how many bytes that are is a matter of taste, what they mean is not.
BARE_LF = {
    "bare LF": HAND_MADE["duplicate headers"].replace(b"\r\n", b"\n"),
    "bare LF multipart": HAND_MADE["multipart"].replace(b"\r\n", b"\n"),
    "mixed line ends": HAND_MADE["attached message"].replace(b"\r\n", b"\n", 7),
}

FIELDS = ("From", "To", "Cc", "Subject", "Date", "Message-ID", "Reply-To", "Sender", "X-Odd",
          "References", "In-Reply-To", "Bcc")
BITS = ("a@b", "Bob", "<bob@x>", ",", "(c)", '"q"', ":", ";", "=?utf-8?q?=C3=A4?=", " ", "\r\n ",
        "\\", "(", ")", "<", ">", '"', ".", "@", "Re:", "2020", "Thu,", "1 Jan", "\xe4", "x", "=",
        "[l]", "\t")
TYPES = ("text/plain", "text/html; charset=utf-8", "multipart/mixed; boundary=B{}",
         "multipart/alternative; boundary=\"B{}\"", "message/rfc822", "image/gif; name=\"x\"",
         "multipart/digest; boundary=B{}", "text/plain; charset=iso-8859-1; format=flowed",
         "application/x; a=1; b=\"2 3\"")


def make_field(rng, name):
    return f"{name}: " + "".join(rng.choices(BITS, k=rng.randint(0, 8)))


def make_entity(rng, depth, number):
    """Header and body of a part, with a few mistakes."""
    out = [make_field(rng, name) for name in rng.sample(FIELDS, k=rng.randint(0, 4))]
    kind = rng.choice(TYPES).format(depth) if rng.random() < 0.8 else None
    if kind and kind.startswith(("multi", "message")) and depth > 3:
        kind = "text/plain"
    if kind:
        out.append(f"Content-Type: {kind}")
    if rng.random() < 0.2:
        out.append("Content-Disposition: attachment; filename=f.txt")
    if rng.random() < 0.05:
        out.append("no colon here")
    out.append("")
    if kind and kind.startswith("multi"):
        if rng.random() < 0.5:
            out.append("preamble")
        for i in range(rng.randint(0, 3)):
            out.append(f"--B{depth}")
            out += make_entity(rng, depth + 1, i)
        if rng.random() < 0.8:
            out.append(f"--B{depth}--")
        if rng.random() < 0.3:
            out.append("epilogue")
    elif kind == "message/rfc822":
        out += make_entity(rng, depth + 1, 0)
    else:
        out += [f"text {number} of {depth}"] * rng.randint(0, 3)
    return out


def generated(count, seed=1):
    rng = random.Random(seed)
    for n in range(count):
        yield f"generated {seed}.{n}", (CRLF.join(make_entity(rng, 0, n)) + CRLF).encode("latin-1")


def conversation(count, seed):
    """Replies to messages, of which a third never came; some name all of their ancestors, some the
    last few, some only the one they answer, some have no id."""
    rng = random.Random(seed)
    paths, subjects = [], []
    for n in range(count):
        parent = rng.randrange(n) if n and rng.random() < 0.7 else None
        path = paths[parent] + [parent] if parent is not None else []
        base = rng.choice(("", "alpha", "[l] beta", "gamma", f"s{n}"))
        subject = base
        if parent is not None and rng.random() < 0.8:
            base = subjects[parent]
            subject = rng.choice(("Re: ", "Re: [l] ", "Fwd: ")) + base
        paths.append(path)
        subjects.append(base)
        if rng.random() < 0.33:
            continue
        header = [f"Subject: {subject}",
                  f"Date: {rng.randint(1, 28)} Jan 2026 {rng.randint(0, 23):02}:00:00 +0000"]
        if rng.random() < 0.95:
            header.append(f"Message-ID: <{n}@x>")
        kind = rng.random()
        references = " ".join(f"<{i}@x>" for i in (path if kind < 0.6 else path[-2:]))
        if references and kind < 0.8:
            header.append("References: " + references)
        elif references:
            header.append(f"In-Reply-To: <{path[-1]}@x>")
        yield lines(*header, "", "x")
