"""Messages of every kind, as bytes with CR LF."""
import base64
import random

HEAD = (b"From: Alice <alice@example.test>\r\nTo: Bob <bob@example.test>\r\n"
        b"Date: Tue, 14 Nov 2023 22:13:20 +0000\r\nMessage-ID: <%s@client.example>\r\n"
        b"Subject: %s\r\nMIME-Version: 1.0\r\n")


def head(name):
    return HEAD % (name.encode(), name.encode())


def text(name, body, kind=b"text/plain; charset=utf-8", encoding=b"8bit"):
    return (head(name) + b"Content-Type: " + kind + b"\r\nContent-Transfer-Encoding: " + encoding +
            b"\r\n\r\n" + body)


def nested(depth):
    """A multipart in a multipart in a ... with a text at every level."""
    inner = b"Content-Type: text/plain\r\n\r\nthe innermost\r\n"
    for level in range(depth, 0, -1):
        edge = b"edge-%d" % level
        inner = (b'Content-Type: multipart/mixed; boundary="%s"\r\n\r\n'
                 b"preamble %d\r\n--%s\r\nContent-Type: text/html\r\n\r\n<p>level %d</p>\r\n"
                 b"--%s\r\n%s\r\n--%s--\r\nepilogue %d\r\n"
                 % (edge, level, edge, level, edge, inner, edge, level))
    return inner


def attachment(size, seed=1):
    data = random.Random(seed).randbytes(size)
    lines = base64.encodebytes(data).replace(b"\n", b"\r\n")
    return (head("attachment") + b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n'
            b"Content-Type: text/plain\r\n\r\nSee the file.\r\n--b\r\n"
            b'Content-Type: application/octet-stream; name="f.bin"\r\n'
            b"Content-Transfer-Encoding: base64\r\n\r\n" + lines + b"--b--\r\n")


def letters():
    """name -> message. All end with CR LF, as SMTP's content does."""
    every = bytes(b for b in range(1, 256) if b not in (10, 13))
    return {
        "plain": text("plain", b"Hello.\r\n", encoding=b"7bit"),
        "eight-bit": text("eight-bit", "Grüße, 世界 📧\r\n".encode()),
        "latin": text("latin", b"Gr\xfc\xdfe\r\n", b"text/plain; charset=iso-8859-1"),
        "dots": text("dots", b".\r\n..\r\n...\r\n.hidden\r\n. \r\nend.\r\n.\r\n\r\n.\r\n"),
        "long-lines": text("long-lines", b"x" * 998 + b"\r\n" + b"y" * 5000 + b"\r\n"
                           + b"." * 60000 + b"\r\n"),
        "binary": text("binary", every + b"\r\n" + every[::-1] + b"\r\n", b"application/x-any"),
        "utf8-header": head("utf8-header") + "X-Name: Jürgen 世界\r\n\r\ntext\r\n".encode(),
        "encoded-header": head("encoded-header")
                          + b"X-Name: =?utf-8?B?SsO8cmdlbg==?=\r\n =?utf-8?Q?_M=C3=BCller?=\r\n\r\n"
                          + b"text\r\n",
        "nested": head("nested") + nested(20),
        "broken-mime": head("broken-mime") + b'Content-Type: multipart/mixed; boundary="x\r\n'
                       b"\r\n--x\r\nno header end\r\n--x--",
        "many-fields": head("many-fields")
                       + b"".join(b"X-Field-%d: %s\r\n" % (i, b"v" * (i % 90)) for i in range(600))
                       + b"\r\nbody\r\n",
        "folded": head("folded") + b"X-Long: a\r\n" + b"".join(b"\tpart %d\r\n" % i
                                                              for i in range(300))
                  + b"\r\nbody\r\n",
        "no-body": head("no-body") + b"\r\n",
        "header-only": head("header-only"),
        "blank-lines": text("blank-lines", b"\r\n\r\n\r\nafter\r\n\r\n\r\n"),
        "white-space": text("white-space", b"tab\t\r\nspace \r\n \r\n\t\r\n\x0b\x0c\r\n"),
        "message": head("message") + b"Content-Type: message/rfc822\r\n\r\n" + text("inner", b"x\r\n"),
    }
