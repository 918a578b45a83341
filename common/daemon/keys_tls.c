/* Apart from the client of keyd, so that monitors do without OpenSSL. */
#include "common/daemon/keys.h"

static int find_cert(
    struct ipc_key_set set, struct span id, struct tls_certificate *out, struct err *err)
{
	struct ipc_key_cert cert;

	while (ipc_key_next(&set, &cert)) {
		if (!span_eq(cert.id, id))
			continue;
		*out = (struct tls_certificate){cert.chain, cert.key, cert.ocsp};
		return 0;
	}
	return err_set(err, ERR_NOT_FOUND, "no certificate %.*s", SPAN_FMT(id));
}

struct tls_context *keys_context(struct span body, const struct config_listener *l, struct err *err)
{
	struct tls_certificate certs[IPC_KEY_IDS_MAX];
	struct tls_server_options o = {.certificates = certs,
	    .min_version = l->tls_min,
	    .ask_client = l->ask_client_certificate};
	struct span list = span_of(l->certificates);
	struct tls_context *tls = NULL;
	struct ipc_key_set set;
	struct span id;

	if (!ipc_dec_key_set(body, &set)) {
		err_set(err, ERR_INVALID, "malformed set of certificates");
		goto out;
	}
	for (; o.ticket_count < set.ticket_count; o.ticket_count++)
		o.tickets[o.ticket_count] = set.tickets[o.ticket_count];
	while (config_list_next(&list, &id)) {
		if (o.count == IPC_KEY_IDS_MAX) {
			err_set(err, ERR_LIMIT, "more than %d certificates", IPC_KEY_IDS_MAX);
			goto out;
		}
		if (find_cert(set, id, &certs[o.count], err) < 0)
			goto out;
		o.count++;
	}
	tls = tls_server_context_new(&o, err);
out:
	if (!tls)
		err_wrap(err, "listener %s: certificate %s", l->name, l->certificates);
	return tls;
}
