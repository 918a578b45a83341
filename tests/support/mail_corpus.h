/* Messages that the mail tests share: one of each kind, well-formed and broken. */
#ifndef MS_TESTS_MAIL_CORPUS_H
#define MS_TESTS_MAIL_CORPUS_H

#include "common/base/span.h"

static const struct span mail_corpus[] = {
    SPAN_INIT(""),
    SPAN_INIT("\r\n"),
    SPAN_INIT("\n"),
    SPAN_INIT("x"),
    SPAN_INIT("Subject: no body"),
    SPAN_INIT("Subject: a\r\nFrom: A <a@b>\r\nTo: g: x@y, \"Q, R\" <q@r>;, z@z\r\n\r\nHello\r\n"),
    SPAN_INIT("Subject: lf only\nFrom: a@b (A)\n\none\ntwo\n"),
    SPAN_INIT("From a@b Mon Jan 1 00:00:00 2026\nSubject: mbox\nno colon\n\ntext"),
    SPAN_INIT("Content-Type: text/html; charset*0=\"ut\"; charset*1=f-8; n*0*=utf-8''%e2; n*1=a\r\n"
	      "Content-Disposition: attachment; filename=\"a b\"; size=3\r\n"
	      "Content-Language: de, en-US (comment)\r\nContent-MD5: xyz\r\nContent-Id: <c@d>\r\n"
	      "Content-Description: a\r\n b\r\nContent-Location: http://x/\r\n"
	      "Content-Transfer-Encoding: QUOTED-PRINTABLE\r\n\r\n<p>=C3=A4</p>\r\n"),
    SPAN_INIT(
	"Subject: outer\r\nContent-Type: multipart/mixed; boundary=\"b\"\r\n\r\npreamble\r\n"
	"--b\r\n\r\nfirst\r\n\r\n--b\r\nContent-Type: multipart/alternative; boundary=bb\r\n"
	"\r\n--bb\r\nContent-Type: text/plain\r\n\r\nplain\r\n--bb\r\n"
	"Content-Type: text/html\r\n\r\n<html>\r\n--bb--\r\nepilogue\r\n--b\r\n"
	"Content-Type: message/rfc822\r\n\r\nSubject: inner\r\nFrom: i@n\r\n"
	"Content-Type: multipart/digest; boundary=c\r\n\r\n--c\r\n\r\nSubject: deep\r\n\r\nx\r\n"
	"--c--\r\n--b--\r\nend\r\n"),
    SPAN_INIT("Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n\n"
	      "Subject: cut\n--b\nContent-Type: message/rfc822\n--b\n\n--b--"),
    SPAN_INIT("Content-Type: multipart/mixed\r\n\r\n--b\r\n\r\nx\r\n"),
    SPAN_INIT(
	"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
	"Content-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nunended\r\n--b\r\n\r\ny"),
    SPAN_INIT("Content-Type: message/rfc822\r\n\r\nSubject: in\r\nTo: \"unended\r\n\r\nbody\r\n"),
    SPAN_INIT("Subject: =?utf-8?q?=C3=A4?=\r\nX: \xff\x80\r\n\r\n\xe4\xf6\r\n"),
};

#define MAIL_CORPUS_LEN (sizeof(mail_corpus) / sizeof(mail_corpus[0]))

#endif
