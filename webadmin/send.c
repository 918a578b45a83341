#include "webadmin/web.h"

#include <stdio.h>

static const char security_headers[] =
    "Content-Security-Policy: default-src 'none'; style-src 'self'; script-src 'self'; "
    "img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "Referrer-Policy: same-origin\r\n"
    "Strict-Transport-Security: max-age=31536000\r\n"
    "Cross-Origin-Opener-Policy: same-origin\r\n"
    "Cross-Origin-Resource-Policy: same-origin\r\n"
    "Cache-Control: no-store\r\n";

static void send_cookie(const char *cookie)
{
	if (!cookie)
		return;
	printf("Set-Cookie: __Host-mailstead=%s; Path=/; Secure; HttpOnly; SameSite=Strict%s\r\n",
	    cookie, cookie[0] ? "" : "; Max-Age=0");
}

void send_page(int status, struct html *h, const char *cookie)
{
	if (h->out.failed)
		status = 500;
	printf(
	    "Status: %d\r\nContent-Type: text/html; charset=utf-8\r\n%s", status, security_headers);
	send_cookie(cookie);
	fputs("\r\n", stdout);
	fwrite(h->out.p, 1, h->out.n, stdout);
	strbuf_clear(&h->out);
}

void send_redirect(const char *path, const char *cookie)
{
	printf("Status: 303\r\nLocation: %s\r\n%s", path, security_headers);
	send_cookie(cookie);
	fputs("\r\n", stdout);
}

void send_asset(const char *type, struct span bytes)
{
	printf("Status: 200\r\nContent-Type: %s\r\nX-Content-Type-Options: nosniff\r\n"
	       "Cache-Control: max-age=3600\r\n\r\n",
	    type);
	fwrite(bytes.p, 1, bytes.n, stdout);
}

void send_bytes(int status, const char *type, const char *filename, struct span bytes)
{
	printf("Status: %d\r\nContent-Type: %s\r\n%s", status, type, security_headers);
	if (filename)
		printf("Content-Disposition: attachment; filename=\"%s\"\r\n", filename);
	fputs("\r\n", stdout);
	fwrite(bytes.p, 1, bytes.n, stdout);
}
