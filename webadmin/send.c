#include "webadmin/web.h"

#include <stdio.h>

static const char security_headers[] =
    "Content-Security-Policy: default-src 'none'; style-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "Referrer-Policy: no-referrer\r\n"
    "Strict-Transport-Security: max-age=31536000\r\n"
    "Cache-Control: no-store\r\n";

static void send_cookie(const char *cookie)
{
	if (!cookie)
		return;
	printf("Set-Cookie: __Host-mailstead=%s; Path=/; Secure; HttpOnly; SameSite=Strict%s\r\n",
	    cookie, cookie[0] ? "" : "; Max-Age=0");
}

void send_page(int status, const struct html *h, const char *cookie)
{
	if (h->out.failed)
		status = 500;
	printf(
	    "Status: %d\r\nContent-Type: text/html; charset=utf-8\r\n%s", status, security_headers);
	send_cookie(cookie);
	fputs("\r\n", stdout);
	fwrite(h->out.p, 1, h->out.n, stdout);
}

void send_redirect(const char *path, const char *cookie)
{
	printf("Status: 303\r\nLocation: %s\r\n%s", path, security_headers);
	send_cookie(cookie);
	fputs("\r\n", stdout);
}

void send_file_css(void)
{
	printf("Status: 200\r\nContent-Type: text/css; charset=utf-8\r\n"
	       "X-Content-Type-Options: nosniff\r\nCache-Control: max-age=3600\r\n\r\n");
	fputs(":root{color-scheme:light dark}\n"
	      "body{font:16px/1.5 system-ui,sans-serif;margin:0}\n"
	      "header{padding:.6rem 1rem;border-bottom:1px solid #8886}\n"
	      "nav{display:inline}\nnav a{margin-left:1rem}\n"
	      "main{max-width:60rem;margin:auto;padding:1rem}\n"
	      "table{border-collapse:collapse;display:block;overflow-x:auto}\n"
	      "th,td{text-align:left;padding:.3rem .7rem;border-bottom:1px solid #8884}\n"
	      "label{display:block;margin:.4rem 0}\n"
	      "input{font:inherit;padding:.3rem;max-width:100%}\n"
	      "button{font:inherit;padding:.35rem .9rem;margin:.3rem 0}\n"
	      "td form{display:inline}\n"
	      ".error{border-left:4px solid #c33;padding-left:.7rem}\n"
	      ".done{border-left:4px solid #393;padding-left:.7rem}\n"
	      ".command{opacity:.75;font-size:.9rem}\n",
	    stdout);
}
