/*
 * The sendmail interface: how cron and scripts send mail. The message goes by SMTP to the listener
 * with role smtp of this machine, so it is accepted (and refused) as any other mail is; a name
 * without a domain gets that of /etc/mailname, or server.hostname. Nothing here has rights of its
 * own, nothing is kept: when the server does not answer, the exit status says "try again".
 */
#ifndef MS_CTL_SENDMAIL_H
#define MS_CTL_SENDMAIL_H

#include "common/base/err.h"
#include "common/base/strbuf.h"
#include "common/config/config.h"

#define SENDMAIL_RECIPIENTS 1000

/* Exit statuses of sysexits.h, which callers of sendmail know. */
enum {
	SEND_OK = 0,
	SEND_USAGE = 64,
	SEND_DATA = 65,
	SEND_NO_USER = 67,
	SEND_REFUSED = 69,
	SEND_TEMP = 75,
	SEND_CONFIG = 78
};

struct sendmail {
	struct config *cfg;
	const char *conf;
	char *domain;    /* for names without one */
	char *sender;    /* envelope, as in MAIL FROM without brackets; "" is the null sender */
	char *full_name; /* for From, NULL: the user's */
	bool has_list;   /* -t: recipients stand in the header */
	bool has_dots;   /* -i: a line with a dot does not end the message */
	char *recipients[SENDMAIL_RECIPIENTS];
	size_t count;
	struct strbuf message; /* header and text with CRLF, as read, then completed */
};

/* argv[0] is "sendmail". Returns the exit status. */
int ctl_sendmail(int argc, char **argv);

/* sendmail_message.c: reads standard input to its end into s->message, lines ended by CRLF. */
int sendmail_read(struct sendmail *s, int fd, struct err *err);
/* Takes recipients from To, Cc and Bcc (if has_list), removes Bcc, adds From, Date and Message-ID
 * where they are missing. */
int sendmail_complete(struct sendmail *s, struct err *err);
/* Adds a recipient once; qualified and checked. */
int sendmail_add_recipient(struct sendmail *s, struct span address, struct err *err);
/* "user" or "user@domain" as an address that can stand in a command; NULL with err if it cannot. */
char *sendmail_qualify(const struct sendmail *s, struct span address, struct err *err);

/* sendmail_smtp.c: hands the message to the server; prints what was refused. Exit status. */
int sendmail_send(const struct sendmail *s, struct err *err);

#endif
