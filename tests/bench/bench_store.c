/*
 * What a delivery costs: commits a second, bytes and flushes a message, for messages of 1 KB, one
 * and fifty to a transaction. Linked like a unit test; the folder to work in is its argument
 * (default /tmp), because the file system decides.
 */
#include "common/crypto/crypto.h"
#include "common/event/clock.h"
#include "common/mail/envelope.h"
#include "common/store/cache.h"
#include "common/store/store_int.h"
#include "tests/support/fixture.h"

#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

static uint64_t flushes, bytes;

int fdatasync(int fd)
{
	flushes++;
	return (int)syscall(SYS_fdatasync, fd);
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
	bytes += n;
	flushes += n < 512; /* LMDB's root, written through a synchronous descriptor */
	return syscall(SYS_pwrite64, fd, p, n, at);
}

ssize_t writev(int fd, const struct iovec *v, int n)
{
	for (int i = 0; i < n; i++)
		bytes += v[i].iov_len;
	return syscall(SYS_writev, fd, v, n);
}

static struct err err;

static void must(int rc, const char *what)
{
	if (rc < 0)
		fatal("%s: %s", what, err.text);
}

static void deliver(struct db_txn *txn, uint64_t account, uint64_t mailbox, unsigned number)
{
	struct blob_writer *w = blob_writer_new(NULL, 0);
	struct store_append m = {.internaldate = clock_now()};
	struct store_appended res;
	struct strbuf text, cache;
	struct mime_tree *tree;
	struct blob blob;
	char noise[61];
	struct db_key k;

	strbuf_init(&text, 4096);
	strbuf_init(&cache, 65536);
	random_hex(noise, 30);
	strbuf_addf(&text,
	    "Return-Path: <sender@example.org>\r\nReceived: from mx%u.example.org (mx.example.org "
	    "[192.0.2.1])\r\n\tby mail.example.test with ESMTPS id %u;\r\n\tMon, 5 Jan 2026 "
	    "10:00:00 "
	    "+0000\r\nFrom: Sender <sender@example.org>\r\nTo: alice@example.test\r\nSubject: "
	    "Message "
	    "number %u\r\nDate: Mon, 5 Jan 2026 10:00:00 +0000\r\nMessage-ID: "
	    "<%u.bench@example.org>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; "
	    "charset=utf-8\r\n\r\n%s\r\n",
	    number, number, number, number, noise);
	while (text.n < 1022)
		strbuf_add_chr(&text, (char)('a' + rand() % 26));
	strbuf_add_str(&text, "\r\n");
	must(blob_write(w, strbuf_span(&text), &err), "blob");
	must(blob_finish(w, &blob, &err), "blob");
	tree = mime_tree_parse(strbuf_span(&text));
	cache_encode(&cache, tree, strbuf_span(&text));
	mime_tree_free(tree);
	m.blob = &blob;
	m.cache = strbuf_span(&cache);
	m.message_id = mail_msgid_of(strbuf_span(&text));
	must(store_append(txn, account, mailbox, &m, &res, &err), "append");
	db_key_init(&k);
	db_key_u64(&k, number);
	must(store_delivered_add(txn, db_key_span(&k), &err), "delivered");
	blob_writer_free(w);
	strbuf_clear(&text);
	strbuf_clear(&cache);
}

static void run(struct db_env *env, unsigned messages, unsigned batch, unsigned accounts)
{
	static unsigned number;
	uint64_t start = clock_mono_us(), b = bytes, f = flushes, us;

	for (unsigned i = 0; i < messages; i += batch) {
		struct db_txn *txn;

		must(db_write_begin(env, &txn, &err), "begin");
		for (unsigned j = 0; j < batch; j++) {
			uint64_t account = 1 + number % accounts;
			struct store_mailbox mb;

			must(store_account_ensure(txn, account, &err), "account");
			must(store_mailbox_find(txn, account, SPAN("INBOX"), &mb, &err), "INBOX");
			deliver(txn, account, mb.id, number++);
		}
		must(db_commit(txn, &err), "commit");
	}
	us = clock_mono_us() - start;
	printf(
	    "%2u a transaction, %3u accounts: %6.0f commits/s %7.0f messages/s %6.1f KB and %.2f "
	    "flushes a message\n",
	    batch, accounts, messages / batch * 1e6 / (double)us, messages * 1e6 / (double)us,
	    (double)(bytes - b) / messages / 1024, (double)(flushes - f) / messages);
}

int main(int argc, char **argv)
{
	struct db_options opt = {.map_size = (size_t)8 << 30, .note_size = STORE_HINT_LEN};
	struct db_stat st;
	struct db_env *env;
	char dir[200];

	setenv("MAILSTEAD_ALLOW_ROOT", "1", 1);
	snprintf(dir, sizeof(dir), "%s/mailstead-bench-XXXXXX", argc > 1 ? argv[1] : "/tmp");
	if (!mkdtemp(dir))
		fatal("%s: cannot be made", dir);
	opt.dir = dir;
	must(db_env_open(&opt, &env, &err), "open");
	run(env, 2000, 1, 1);
	run(env, 20000, 50, 1);
	run(env, 2000, 1, 1);
	run(env, 2000, 1, 100);
	run(env, 20000, 50, 100);
	must(db_env_stat(env, &st, &err), "stat");
	printf("file: %.1f MB for 46,000 messages, depth %llu\n", (double)st.file_bytes / 1e6,
	    (unsigned long long)st.depth);
	db_env_close(env);
	nftw(dir, fixture_remove, 16, FTW_DEPTH | FTW_PHYS);
	return 0;
}
