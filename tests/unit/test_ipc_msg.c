/* The messages between the processes: there and back, and refused at every cut and change of a
 * length. A process that speaks with strangers may send anything. */
#include "common/ipc/msg.h"
#include "tests/support/unit.h"

/* One decoder for all: true if the body is one of the type. Also reads everything it points to. */
static unsigned sum_of(struct span s)
{
	unsigned sum = 0;

	for (size_t i = 0; i < s.n; i++)
		sum += (unsigned char)s.p[i];
	return sum;
}

static volatile unsigned sink;

static bool decode(uint16_t type, struct span body)
{
	struct ipc_error error;
	struct ipc_login login;
	struct ipc_login_result result;
	struct ipc_resolve resolve;
	struct ipc_resolved resolved;
	struct ipc_target target;
	struct ipc_sender sender;
	struct ipc_submit submit;
	struct ipc_submit_result submitted;
	struct ipc_admin admin;
	struct ipc_key_fetch fetch;
	struct ipc_key_set set;
	struct ipc_key_cert cert;
	struct ipc_value value;
	uint64_t generation;
	struct dec d;

	switch (type) {
	case IPC_ERROR:
		return ipc_dec_error(body, &error) && (sink = sum_of(error.text), true);
	case IPC_AUTH_LOGIN:
		return ipc_dec_login(body, &login) && (sink = sum_of(login.password), true);
	case IPC_AUTH_RESULT:
		return ipc_dec_login_result(body, &result) && (sink = sum_of(result.text), true);
	case IPC_AUTH_RESOLVE:
		return ipc_dec_resolve(body, &resolve) && (sink = sum_of(resolve.address), true);
	case IPC_AUTH_RESOLVED:
		if (!ipc_dec_resolved(body, &resolved))
			return false;
		for (uint32_t i = 0; i < resolved.count; i++) {
			ck_assert(ipc_target_next(&resolved, &target));
			sink = sum_of(target.address) + sum_of(target.detail);
		}
		ck_assert(!ipc_target_next(&resolved, &target));
		return true;
	case IPC_AUTH_SENDER:
		return ipc_dec_sender(body, &sender) && (sink = sum_of(sender.address), true);
	case IPC_AUTH_SUBMIT:
		return ipc_dec_submit(body, &submit) && (sink = sum_of(submit.address), true);
	case IPC_AUTH_SUBMIT_RESULT:
		return ipc_dec_submit_result(body, &submitted) &&
		       (sink = sum_of(submitted.text), true);
	case IPC_ADMIN:
		if (!ipc_dec_admin(body, &admin))
			return false;
		for (uint32_t i = 0; i < admin.count; i++)
			sink = sum_of(admin.words[i]);
		sink = sum_of(admin.content);
		return true;
	case IPC_KEY_FETCH:
		return ipc_dec_key_fetch(body, &fetch) && (sink = sum_of(fetch.purpose), true);
	case IPC_KEY_SET:
		if (!ipc_dec_key_set(body, &set))
			return false;
		for (uint32_t i = 0; i < set.count; i++) {
			ck_assert(ipc_key_next(&set, &cert));
			sink = sum_of(cert.chain) + sum_of(cert.key) + sum_of(cert.ocsp);
		}
		ck_assert(!ipc_key_next(&set, &cert));
		return true;
	case IPC_KEY_WATCH:
		return ipc_dec_generation(body, &generation);
	default:
		d = dec_of(body);
		while (ipc_rec_next(&d, &value))
			sink = sum_of(value.name) + sum_of(value.text);
		return dec_done(&d);
	}
}

static const uint16_t types[] = {IPC_ERROR, IPC_AUTH_LOGIN, IPC_AUTH_RESULT, IPC_AUTH_RESOLVE,
    IPC_AUTH_RESOLVED, IPC_AUTH_SENDER, IPC_AUTH_SUBMIT, IPC_AUTH_SUBMIT_RESULT, IPC_ADMIN,
    IPC_KEY_FETCH, IPC_KEY_SET, IPC_KEY_WATCH, IPC_ADMIN_RECORD};

static void encode(uint16_t type, struct strbuf *b)
{
	const struct ipc_target targets[] = {{1, 2, 3, SPAN("alice@example.test"), SPAN("shop")},
	    {UINT64_MAX, UINT64_MAX, UINT64_MAX, SPAN("bob@example.test"), SPAN("")}};
	struct ipc_admin admin = {SPAN("token"), SPAN("192.0.2.1"), SPAN("secret"), 3,
	    {SPAN("account"), SPAN(""), SPAN("bob@example.test")}, SPAN("a\0file")};
	struct ipc_key_fetch fetch = {SPAN("imapd"), 2, {SPAN("default"), SPAN("shop")}};
	char ticket[IPC_KEY_TICKET_LEN] = "name";
	struct ipc_key_set set = {.generation = 7,
	    .ticket_count = 1,
	    .tickets = {span_make(ticket, sizeof(ticket))},
	    .count = 1};
	struct ipc_key_cert cert = {SPAN("default"), SPAN("chain"), SPAN("key"), SPAN("")};

	switch (type) {
	case IPC_ERROR:
		ipc_enc_error(b, &(struct ipc_error){65535, SPAN("why")});
		break;
	case IPC_AUTH_LOGIN:
		ipc_enc_login(b, &(struct ipc_login){SPAN("imap"), SPAN("imaps"), SPAN("::1"),
				     SPAN("alice"), SPAN("pass\0word")});
		break;
	case IPC_AUTH_RESULT:
		ipc_enc_login_result(b, &(struct ipc_login_result){LOGIN_OK, UINT64_MAX,
					    SPAN("alice@example.test"), 7, 8, 9, SPAN("text")});
		break;
	case IPC_AUTH_RESOLVE:
		ipc_enc_resolve(b, &(struct ipc_resolve){SPAN("postmaster")});
		break;
	case IPC_AUTH_RESOLVED:
		ipc_enc_resolved(b, RESOLVE_LOCAL, targets, 2);
		break;
	case IPC_AUTH_SENDER:
		ipc_enc_sender(b, &(struct ipc_sender){9, SPAN("alice@example.test")});
		break;
	case IPC_AUTH_SUBMIT:
		ipc_enc_submit(b, &(struct ipc_submit){9, SUBMIT_SENT, SPAN("a@b")});
		break;
	case IPC_AUTH_SUBMIT_RESULT:
		ipc_enc_submit_result(b, &(struct ipc_submit_result){SUBMIT_LIMITED, SPAN("why")});
		break;
	case IPC_ADMIN:
		ipc_enc_admin(b, &admin);
		break;
	case IPC_KEY_FETCH:
		ipc_enc_key_fetch(b, &fetch);
		break;
	case IPC_KEY_SET:
		ipc_enc_key_set(b, &set);
		ipc_enc_key_cert(b, &cert);
		break;
	case IPC_KEY_WATCH:
		ipc_enc_generation(b, UINT64_MAX);
		break;
	default:
		ipc_rec_text(b, "name", SPAN("value"));
		ipc_rec_number(b, "size", IPC_BYTES, UINT64_MAX);
		ipc_rec_number(b, "", IPC_TIME, 0);
		break;
	}
}

START_TEST(whole_and_cut)
{
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		struct strbuf b;

		strbuf_init(&b, 4096);
		encode(types[i], &b);
		for (size_t n = 0; n <= b.n; n++) {
			struct span in = exact(b.p, n);
			/* A record may end behind any of its values. */
			bool may =
			    types[i] == IPC_ADMIN_RECORD && (n == 0 || n == 18 || n == 18 + 17);

			ck_assert_msg(decode(types[i], in) == (n == b.n || may),
			    "type %u, %zu of %zu", types[i], n, b.n);
			exact_free(in);
		}
		strbuf_add_chr(&b, 0);
		ck_assert_msg(!decode(types[i], strbuf_span(&b)), "type %u and a byte", types[i]);
		strbuf_clear(&b);
	}
}
END_TEST

/* Every byte changed to values that lengths break at: refused or not, never out of bounds. */
START_TEST(changed_bytes)
{
	static const unsigned char bytes[] = {0, 1, 0x7f, 0x80, 0xff};

	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		struct strbuf b;

		strbuf_init(&b, 4096);
		encode(types[i], &b);
		for (size_t at = 0; at < b.n; at++)
			for (size_t k = 0; k < ARRAY_LEN(bytes); k++) {
				struct span in = exact(b.p, b.n);

				((char *)(uintptr_t)in.p)[at] = (char)bytes[k];
				(void)decode(types[i], in);
				exact_free(in);
			}
		strbuf_clear(&b);
	}
}
END_TEST

START_TEST(values_come_back)
{
	struct ipc_login_result result;
	struct ipc_resolved resolved;
	struct ipc_target t;
	struct ipc_admin admin;
	struct ipc_login login;
	struct strbuf b;

	strbuf_init(&b, 4096);
	encode(IPC_AUTH_RESULT, &b);
	ck_assert(ipc_dec_login_result(strbuf_span(&b), &result));
	ck_assert(result.status == LOGIN_OK && result.account == UINT64_MAX);
	ck_assert(result.quota_bytes == 7 && result.quota_messages == 8);
	strbuf_reset(&b);
	encode(IPC_AUTH_LOGIN, &b);
	ck_assert(ipc_dec_login(strbuf_span(&b), &login));
	ck_assert(
	    span_eq(login.password, SPAN("pass\0word")) && span_eq(login.user, SPAN("alice")));
	strbuf_reset(&b);
	encode(IPC_AUTH_RESOLVED, &b);
	ck_assert(ipc_dec_resolved(strbuf_span(&b), &resolved) && resolved.count == 2);
	ck_assert(ipc_target_next(&resolved, &t) && t.account == 1 && t.quota_messages == 3);
	ck_assert(span_eq(t.detail, SPAN("shop")));
	ck_assert(ipc_target_next(&resolved, &t) && t.quota_bytes == UINT64_MAX && t.detail.n == 0);
	strbuf_reset(&b);
	encode(IPC_ADMIN, &b);
	ck_assert(ipc_dec_admin(strbuf_span(&b), &admin) && admin.count == 3);
	ck_assert(admin.words[1].n == 0 && span_eq(admin.secret, SPAN("secret")));
	ck_assert(span_eq(admin.content, SPAN("a\0file")));
	strbuf_clear(&b);
}
END_TEST

START_TEST(counts_are_limited)
{
	static struct ipc_target targets[IPC_RESOLVE_MAX + 1];
	struct ipc_admin admin = {.count = IPC_ADMIN_WORDS + 1};
	struct ipc_resolved resolved;
	struct strbuf b;

	strbuf_init(&b, 1 << 20);
	ipc_enc_resolved(&b, RESOLVE_LOCAL, targets, IPC_RESOLVE_MAX + 1);
	ck_assert(b.failed);
	strbuf_reset(&b);
	ipc_enc_resolved(&b, RESOLVE_LOCAL, targets, IPC_RESOLVE_MAX);
	ck_assert(!b.failed && ipc_dec_resolved(strbuf_span(&b), &resolved));
	ck_assert_uint_eq(resolved.count, IPC_RESOLVE_MAX);
	strbuf_reset(&b);
	ipc_enc_admin(&b, &admin);
	ck_assert(b.failed);
	/* A count that the words do not follow. */
	strbuf_reset(&b);
	for (int i = 0; i < 3; i++)
		enc_str(&b, "");
	enc_u32(&b, UINT32_MAX);
	ck_assert(!ipc_dec_admin(strbuf_span(&b), &admin));
	strbuf_reset(&b);
	enc_u8(&b, 0);
	enc_u32(&b, UINT32_MAX);
	ck_assert(!ipc_dec_resolved(strbuf_span(&b), &resolved));
	strbuf_clear(&b);
}
END_TEST

START_TEST(unknown_value_types)
{
	for (unsigned type = 0; type < 256; type++) {
		struct ipc_value v;
		struct strbuf b;
		struct dec d;

		strbuf_init(&b, 64);
		enc_str(&b, "n");
		enc_u8(&b, (uint8_t)type);
		enc_u64(&b, 4); /* or a text of length 0 and four bytes that follow */
		d = dec_of(strbuf_span(&b));
		ck_assert_int_eq(ipc_rec_next(&d, &v), type <= IPC_TIME);
		strbuf_clear(&b);
	}
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {whole_and_cut, changed_bytes, values_come_back,
	    counts_are_limited, unknown_value_types};
	TCase *tc = tcase_create("msg");

	unit_add(tc, tests, ARRAY_LEN(tests));
	return unit_finish(tc);
}
