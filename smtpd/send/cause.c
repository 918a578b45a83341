/* What servers mean, for people. */
#include "smtpd/send/dsn.h"

#include "common/base/mem.h"

struct rule {
	const char *code;  /* an enhanced code, or its beginning; "" any */
	const char *words; /* that stand in the text; "" none needed */
	struct cause cause;
};

/* The first that fits: what is said in words goes before what is said in numbers. */
static const struct rule rules[] = {
    {"", "spamhaus",
	{"The recipient's server refuses mail from this server's address because a blocklist "
	 "(Spamhaus) lists it.",
	    "The administrator can ask for its removal on the blocklist's page, or send through "
	    "another server (a smarthost)."}},
    {"", "blocklist",
	{"The recipient's server refuses mail from this server's address because a blocklist lists "
	 "it.",
	    "The administrator can ask for its removal, or send through another server (a "
	    "smarthost)."}},
    {"", "blacklist",
	{"The recipient's server refuses mail from this server's address because a blocklist lists "
	 "it.",
	    "The administrator can ask for its removal, or send through another server (a "
	    "smarthost)."}},
    {"", "reverse dns",
	{"The recipient's server wants this server's address to have a matching name.",
	    "The administrator sets the reverse DNS (PTR record) at the provider of the address."}},
    {"5.7.26", "",
	{"The recipient's server wants proof that the message is from this domain, and found none.",
	    "The administrator publishes SPF and DKIM records: mailsteadctl domain dns shows "
	    "them."}},
    {"5.7.30", "",
	{"The message was to go over verified encrypted connections only, and that is not "
	 "possible.",
	    "Send it without that demand, or in another way."}},
    {"5.7.1", "relay",
	{"The server that was asked does not take mail for this address.",
	    "Check the address. If it is right, the domain's mail servers are set up wrongly: tell "
	    "the recipient in another way."}},
    {"5.1.1", "", {"The address does not exist there.", "Check how it is written."}},
    {"5.1.10", "",
	{"The domain takes no mail at all, and says so.", "Check how the domain is written."}},
    {"5.1.2", "", {"The domain does not exist.", "Check what stands behind the @."}},
    {"5.1.3", "", {"The address is not one.", "Check how it is written."}},
    {"5.1.", "",
	{"The recipient's server does not accept the address.", "Check how it is written."}},
    {"5.2.1", "", {"The mailbox is closed.", "Reach the recipient in another way."}},
    {"5.2.2", "",
	{"The recipient's mailbox is full.",
	    "Try again later, or reach the recipient in another way."}},
    {"4.2.2", "", {"The recipient's mailbox is full.", "It is tried again by itself."}},
    {"5.2.3", "", {"The message is too large for the recipient.", "Send less at once."}},
    {"5.3.4", "", {"The message is too large for the recipient's server.", "Send less at once."}},
    {"5.4.4", "", {"The domain has no mail server.", "Check how the domain is written."}},
    {"5.4.6", "",
	{"The message would go round in a circle.",
	    "The administrator of the domain looks at its MX records and forwardings."}},
    {"4.4.7", "",
	{"The recipient's server could not be reached for days.",
	    "Reach the recipient in another way, and try again later."}},
    {"4.4.1", "", {"The recipient's server does not answer.", "It is tried again by itself."}},
    {"4.4.3", "",
	{"The domain's mail server could not be found out.", "It is tried again by itself."}},
    {"5.6.7", "",
	{"The recipient's server cannot handle addresses with letters beyond ASCII.",
	    "Send from an address, and to one, in plain ASCII."}},
    {"5.6.", "",
	{"The recipient's server cannot handle the form of the message.",
	    "Send it as plain text."}},
    {"5.7.", "",
	{"The recipient's server does not want the message: it takes it for spam, or does not "
	 "trust "
	 "this server.",
	    "Its own words below may say why. Reach the recipient in another way."}},
    {"4.7.", "",
	{"The recipient's server does not want the message now: it waits for unknown senders to "
	 "try "
	 "again, or does not trust this server yet.",
	    "It is tried again by itself."}},
    {"4.", "",
	{"The recipient's server cannot take the message at the moment.",
	    "It is tried again by itself."}},
    {"5.", "",
	{"The recipient's server does not accept the message.", "Its own words below say why."}},
};

const struct cause *cause_of(struct span reply)
{
	char status[16];

	dsn_status(reply, status);
	for (size_t i = 0; i < ARRAY_LEN(rules) - 1; i++) {
		const struct rule *r = &rules[i];
		struct span code = span_of(r->code);
		bool is_prefix = code.n == 0 || code.p[code.n - 1] == '.';

		if (is_prefix ? !span_starts(span_of(status), code)
			      : !span_eq(span_of(status), code))
			continue;
		if (r->words[0] == '\0' || span_ifind(reply, span_of(r->words)) >= 0)
			return &r->cause;
	}
	return &rules[ARRAY_LEN(rules) - 1].cause;
}
