/* What a mail server needs of the world, looked at; and a message that is followed on its way. */
#include "webadmin/web.h"

#include <unistd.h>

static void check_row(struct html *h, const struct answer *a, size_t i)
{
	struct span status = answer_text(a, i, "status");
	struct span advice = answer_text(a, i, "advice");

	HTML(h, R("<tr><td>"));
	HTML(h, R("<span class=\"dot "),
	    S(span_eq(status, SPAN("ok"))          ? "good"
		: span_eq(status, SPAN("warning")) ? "warn"
		: span_eq(status, SPAN("failed"))  ? "bad"
						   : "off"),
	    R("\">"), T(status), R("</span></td><td><b>"), T(answer_text(a, i, "check")),
	    R("</b><br>"), T(answer_text(a, i, "found")));
	if (advice.n > 0)
		HTML(h, R("<br><span class=\"hint\">"), T(advice), R("</span>"));
	HTML(h, R("</td></tr>\n"));
}

void network_table(struct html *h, const struct answer *a)
{
	if (a->count == 0)
		return;
	HTML(h, R("<div class=\"scroll\"><table>\n"));
	for (size_t i = 0; i < a->count; i++)
		check_row(h, a, i);
	HTML(h, R("</table></div>\n"));
}

static void send_form(struct html *h, const struct request *rq)
{
	HTML(h, R("<section><h2>"), L(TEST_MAIL), R("</h2>\n<p>"), L(TEST_MAIL_HINT), R("</p>\n"));
	form_begin(h, rq, "/network/send");
	input(h, TEXT_ADDRESS, "to", "email", request_form(rq, "to"), "required");
	form_end(h, TEXT_TEST_MAIL_SEND);
	same_command(h, "send-test ADDRESS");
	HTML(h, R("</section>\n"));
}

void page_network(struct request *rq)
{
	bool is_checked = request_query(rq, "check").n > 0;
	struct answer a = {0};
	struct html h;

	alarm(NETWORK_SECONDS);
	if (is_checked && !ask(rq, &WORDS("check-network"), &a))
		return;
	page_begin(&h, rq, TEXT_NETWORK);
	HTML(&h, R("<p>"), L(NETWORK_HINT),
	    R("</p>\n<p><a class=\"button\" href=\"/network?check=1\">"),
	    LID(is_checked ? TEXT_DNS_AGAIN : TEXT_NETWORK_CHECK), R("</a></p>\n"));
	network_table(&h, &a);
	same_command(&h, "check-network");
	send_form(&h, rq);
	page_end(&h);
}

void action_send_test(struct request *rq)
{
	struct command cmd = WORDS("send-test", form_cstr(rq, "to"));
	struct answer a;
	struct html h;

	alarm(NETWORK_SECONDS);
	if (cmd.words[1][0] == '-' || cmd.words[1][0] == '\0') {
		page_failed(rq, text_of(TEXT_BAD_REQUEST), "/network");
		return;
	}
	if (!try_ask(rq, &cmd, &a))
		return;
	page_begin(&h, rq, TEXT_TEST_MAIL);
	notice_begin(&h, a.code == ERR_NONE ? NOTICE_GOOD : NOTICE_BAD);
	HTML(&h, T(a.text));
	if (a.code == ERR_NONE && a.text.n == 0)
		HTML(&h, L(DONE_SENT));
	notice_end(&h);
	if (a.count > 0)
		record_table(&h, &a, NULL);
	send_form(&h, rq);
	page_end_status(&h, a.code == ERR_NONE ? 200 : 409);
}
