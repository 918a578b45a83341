# mailstead: one makefile, nothing recursive. `make help` lists the targets.
#
#   BUILD=dir   where everything built goes (default build)
#   CC=clang    the other compiler
#   SAN=list    sanitizers, for example SAN=address,undefined

MAKEFLAGS += --no-builtin-rules
SHELL := /bin/bash
.DEFAULT_GOAL := all

VERSION := 0.1.0
BUILD ?= build
SAN ?=
ifeq ($(origin CC),default)
CC := gcc
endif
AR ?= ar
PYTHON := /usr/bin/python3
PKG_CONFIG ?= pkg-config
JOBS ?= $(shell nproc)
# GNU's folders, except that the configuration stands in /etc and mail in /var whatever the prefix.
# Give the same ones to `make` and `make install`: the programs know where their configuration is.
prefix ?= /usr/local
exec_prefix ?= $(prefix)
bindir ?= $(exec_prefix)/bin
libexecdir ?= $(exec_prefix)/libexec
sysconfdir ?= /etc
datarootdir ?= $(prefix)/share
datadir ?= $(datarootdir)
docdir ?= $(datarootdir)/doc/mailstead
mandir ?= $(datarootdir)/man
unitdir ?= $(prefix)/lib/systemd/system
sysusersdir ?= $(prefix)/lib/sysusers.d
tmpfilesdir ?= $(prefix)/lib/tmpfiles.d
INSTALL ?= install

# --- flags -------------------------------------------------------------------------------------
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wformat=2 -Wvla \
	-Wpointer-arith -Wundef -Wwrite-strings -Wno-unused-parameter -Werror
HARDEN := -O2 -g -D_FORTIFY_SOURCE=3 -fstack-protector-strong -fstack-clash-protection \
	-fPIE
# What no program calls is not in it, nor what only C++ needs to unwind a stack: memory of each process.
HARDEN += -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables -fno-unwind-tables
# clang 14 wants a second option that says it will go away; gcc and later clangs just take it.
ifeq ($(shell $(CC) -ftrivial-auto-var-init=zero -fsyntax-only -x c /dev/null 2>&1 || echo no),)
HARDEN += -ftrivial-auto-var-init=zero
endif
# Without a compiler this is empty: `make quickstart` and `make check` install one first.
MACHINE := $(shell $(CC) -dumpmachine 2>/dev/null || true)
ifneq ($(filter x86_64%,$(MACHINE)),)
HARDEN += -fcf-protection=full
endif
ifneq ($(filter aarch64%,$(MACHINE)),)
HARDEN += -mbranch-protection=standard
endif
LDHARDEN := -pie -Wl,-z,relro,-z,now,-z,noexecstack,-z,separate-code -Wl,--as-needed,--gc-sections
ifneq ($(SAN),)
HARDEN := -O1 -g -fno-omit-frame-pointer -fPIE -fsanitize=$(SAN) -fno-sanitize-recover=all \
	-DMS_SANITIZED=1
LDHARDEN := -pie -Wl,--as-needed -fsanitize=$(SAN)
endif
# Large files and large directory offsets on 32-bit machines too.
BASE_CPPFLAGS := -I. -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DMS_VERSION='"$(VERSION)"' \
	-DMS_CONF='"$(sysconfdir)/mailstead/mailstead.conf"'
ALL_CFLAGS = -std=c17 $(WARN) $(HARDEN) -pthread $(BASE_CPPFLAGS) $(CPPFLAGS) $(CFLAGS)
ALL_LDFLAGS = $(LDHARDEN) -pthread $(LDFLAGS)

# --- what is built -----------------------------------------------------------------------------
# Library folders of common/, lowest first. A folder may include only folders before it: the table
# behind `make deps-check` (tests/support/deps_check.py) says so for every folder of the tree.
COMMON := base crypto log event mail net dns ipc config sasl db store daemon
# program = folder of its main.c : other source folders : where it is installed
PROGRAMS := authd keyd smtpd imapd pop3d smtpd-receive smtpd-local smtpd-send smtpd-fetch imapd-worker pop3d-worker mailsteadctl maint webadmin web-server web-worker acme
DIRS_authd := common/authd
DIRS_keyd := common/keyd
# One program under several names: links to the first.
MONITORS := smtpd imapd pop3d web-server
$(foreach m,$(MONITORS),$(eval DIRS_$(m) := common/monitor))
DIRS_smtpd-receive := smtpd/receive smtpd/queue
DIRS_smtpd-local := smtpd/local smtpd/queue
DIRS_smtpd-send := smtpd/send smtpd/queue
DIRS_smtpd-fetch := smtpd/fetch
DIRS_imapd-worker := imapd
DIRS_pop3d-worker := pop3d
DIRS_mailsteadctl := common/ctl
DIRS_maint := common/maint smtpd/queue
DIRS_webadmin := webadmin
DIRS_web-worker := webadmin/worker
DIRS_acme := webadmin/acme
# Shared libraries a program may need; --as-needed drops the rest.
PKGS := libssl libcrypto libevent_core libevent_pthreads libzstd zlib libargon2 libidn2 libutf8proc nettle
# Loaded when it is needed (common/dns/unbound.h), by the name that it has where this is built.
UNBOUND_SONAME := $(shell readelf -d "$$($(CC) -print-file-name=libunbound.so 2>/dev/null)" 2>/dev/null | \
	sed -n 's/.*SONAME.*\[\(.*\)\].*/\1/p')
$(BUILD)/common/dns/unbound.o: CPPFLAGS += $(if $(UNBOUND_SONAME),-DUNBOUND_SONAME='"$(UNBOUND_SONAME)"')
# lmdb has a pkg-config file on Debian, but not everywhere.
EXTLIBS = $(shell $(PKG_CONFIG) --libs openssl libevent_core libevent_pthreads libzstd zlib libargon2 libutf8proc libidn2 libqrencode nettle) -llmdb

COMMON_LIBS := $(foreach d,$(COMMON),$(if $(wildcard common/$(d)/*.c),$(BUILD)/lib/common-$(d).a))
BINS := $(foreach p,$(PROGRAMS),$(if $(wildcard $(firstword $(DIRS_$(p)))/main.c),$(BUILD)/bin/$(p)))

.PHONY: all
all: $(BINS)

$(BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# .incbin leaves no trace in a .d file.
$(BUILD)/webadmin/assets.o: $(wildcard webadmin/assets/*)

define COMMON_LIB
$(BUILD)/lib/common-$(1).a: $(patsubst %.c,$(BUILD)/%.o,$(wildcard common/$(1)/*.c))
	@mkdir -p $$(@D)
	@rm -f $$@
	$(AR) rcs $$@ $$^
endef
$(foreach d,$(COMMON),$(eval $(call COMMON_LIB,$(d))))

# Everything of a program's folders except main.c is an archive, so that unit tests can link it.
define FOLDER_LIB
$(BUILD)/lib/$(subst /,-,$(1)).a: $(patsubst %.c,$(BUILD)/%.o,$(filter-out %/main.c,$(wildcard $(1)/*.c)))
	@mkdir -p $$(@D)
	@rm -f $$@
	$(AR) rcs $$@ $$^
endef
PROGRAM_DIRS := $(sort $(foreach p,$(PROGRAMS),$(DIRS_$(p))))
$(foreach d,$(PROGRAM_DIRS),$(eval $(call FOLDER_LIB,$(d))))
FOLDER_LIBS = $(foreach d,$(PROGRAM_DIRS),$(BUILD)/lib/$(subst /,-,$(d)).a)

define PROGRAM
$(BUILD)/bin/$(1): $(BUILD)/$(firstword $(DIRS_$(1)))/main.o \
		$(foreach d,$(DIRS_$(1)),$(BUILD)/lib/$(subst /,-,$(d)).a) $(COMMON_LIBS)
	@mkdir -p $$(@D)
	$(CC) $$(ALL_LDFLAGS) -o $$@ $$< -Wl,--start-group $$(filter %.a,$$^) -Wl,--end-group $$(EXTLIBS)
endef
MONITOR_NAMES := $(filter-out $(firstword $(MONITORS)),$(MONITORS))
$(foreach p,$(filter-out $(MONITOR_NAMES),$(PROGRAMS)),$(eval $(call PROGRAM,$(p))))
$(MONITOR_NAMES:%=$(BUILD)/bin/%): $(BUILD)/bin/$(firstword $(MONITORS))
	ln -f $< $@

# --- unit tests --------------------------------------------------------------------------------
UNIT := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/test_*.c))
$(BUILD)/tests/test_%: $(BUILD)/tests/unit/test_%.o $(COMMON_LIBS) $(FOLDER_LIBS)
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) -o $@ $< -Wl,--start-group $(filter %.a,$^) -Wl,--end-group \
		$(EXTLIBS) $(shell $(PKG_CONFIG) --libs check)

# What the crash tests look at a state with.
$(BUILD)/tests/crash-inspect: $(BUILD)/tests/crash/inspect.o $(COMMON_LIBS) $(FOLDER_LIBS)
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) -o $@ $< -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(EXTLIBS)

# What lets allocations fail in them.
$(BUILD)/tests/failmalloc.so: tests/crash/failmalloc.c
	@mkdir -p $(@D)
	$(CC) -std=c17 -O1 -D_GNU_SOURCE -shared -fPIC -o $@ $<

# Builds that break one rule each (common/base/rules.h), which the crash tests must catch. Only
# what the rule changes is compiled again; the linker takes those objects before the archives'.
MUTANTS := no_flush no_folder_flush ack_early commit_failed
MUTANT_SOURCES := common/db/env common/db/writer common/store/blob_dir
MUTANT_PROGRAMS := smtpd-receive smtpd-local imapd-worker pop3d-worker
define MUTANT
$(BUILD)/mutant/$(1)/%.o: %.c Makefile
	@mkdir -p $$(@D)
	$(CC) $(ALL_CFLAGS) -DMUTANT_$(1) -MMD -MP -c -o $$@ $$<
$(BUILD)/mutant/$(1)/bin/%: $(BUILD)/bin/% $(MUTANT_SOURCES:%=$(BUILD)/mutant/$(1)/%.o) \
		$(BUILD)/mutant/$(1)/smtpd/receive/accept.o
	@mkdir -p $$(@D)
	$(CC) $(ALL_LDFLAGS) -o $$@ $(BUILD)/$$(firstword $$(DIRS_$$*))/main.o \
		$(MUTANT_SOURCES:%=$(BUILD)/mutant/$(1)/%.o) \
		$$(if $$(filter smtpd-receive,$$*),$(BUILD)/mutant/$(1)/smtpd/receive/accept.o) \
		-Wl,--start-group $$(foreach d,$$(DIRS_$$*),$(BUILD)/lib/$$(subst /,-,$$(d)).a) \
		$(COMMON_LIBS) -Wl,--end-group $$(EXTLIBS)
$(BUILD)/mutant/$(1)/bin.ok: $(BINS) $(MUTANT_PROGRAMS:%=$(BUILD)/mutant/$(1)/bin/%)
	@for p in $(filter-out $(MUTANT_PROGRAMS),$(PROGRAMS)); do \
		ln -sf $(abspath $(BUILD))/bin/$$$$p $(BUILD)/mutant/$(1)/bin/$$$$p; done
	@touch $$@
endef
$(foreach m,$(MUTANTS),$(eval $(call MUTANT,$(m))))
.PHONY: mutants
mutants: $(MUTANTS:%=$(BUILD)/mutant/%/bin.ok)

# A version with another format of the databases, for the tests of migrations: two objects are others.
FORMAT2_PROGRAMS := authd smtpd-receive smtpd-local smtpd-send imapd-worker pop3d-worker maint
$(BUILD)/format2/%: $(BUILD)/bin/% $(BUILD)/tests/migration/format.o $(BUILD)/tests/migration/steps.o
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) -o $@ $(BUILD)/$(firstword $(DIRS_$*))/main.o \
		$(BUILD)/tests/migration/format.o \
		$(if $(filter maint,$*),$(BUILD)/tests/migration/steps.o) \
		-Wl,--start-group $(foreach d,$(DIRS_$*),$(BUILD)/lib/$(subst /,-,$(d)).a) \
		$(COMMON_LIBS) -Wl,--end-group $(EXTLIBS)
$(BUILD)/format2.ok: $(BINS) $(FORMAT2_PROGRAMS:%=$(BUILD)/format2/%)
	@for p in $(filter-out $(FORMAT2_PROGRAMS),$(PROGRAMS)); do \
		ln -sf $(abspath $(BUILD))/bin/$$p $(BUILD)/format2/$$p; done
	@touch $@

.PHONY: check-unit unit-tests
unit-tests: $(UNIT)
check-unit: $(UNIT)
	@$(PYTHON) tests/support/run_unit.py $(UNIT)

# --- checks over sockets: MS_BUILD tells the tests which build to run ---------------------------
PYTEST = MS_BUILD=$(BUILD) $(PYTHON) -m pytest -q -p no:cacheprovider -n 4 --dist loadfile
.PHONY: check check-protocol check-e2e asan
# From a clean clone: first what is needed, then everything.
check:
	@bash packaging/deps.sh
	@$(MAKE) -j$(JOBS) all unit-tests mutants $(BUILD)/format2.ok
	@$(MAKE) check-unit check-protocol check-e2e check-crash
# The Debian package in a clean Debian: needs root and Debian's package sources, takes minutes.
.PHONY: check-install check-package check-long deb-check
# The package installed, used, upgraded and purged in a clean Debian; check-package looks at more.
check-install: deb
	MS_BUILD=$(BUILD) $(PYTHON) -m pytest -q -rs -p no:cacheprovider tests/package/test_package.py
deb-check: deb
	@bash packaging/deb-check.sh '$(BUILD)/deb'
check-package: deb-check
	MS_BUILD=$(BUILD) $(PYTHON) -m pytest -q -p no:cacheprovider tests/package
# The tests on a Raspberry Pi's instructions, emulated: needs root, takes minutes.
.PHONY: check-arm
check-arm:
	@bash packaging/deps.sh --deb
	packaging/arm-check.sh armhf
	packaging/arm-check.sh arm64
check-long: check-package check-arm check-browser crash-full asan
	$(MAKE) STRESS_SECONDS=300 stress
	$(MAKE) BUILD=build/asan SAN=address,undefined stress
	$(MAKE) BUILD=build/tsan SAN=thread stress
	MS_MAILS=10000 $(PYTEST) tests/e2e/test_two_servers.py
	MS_SLOW_CLIENTS=2000 $(PYTEST) tests/protocol/test_smtp_slow.py
	MS_TIMING=1000 $(PYTEST) -n 0 -k takes_as_long tests/protocol/test_authd.py
	MS_KILLS=40 $(PYTEST) -n 0 tests/e2e/test_removal.py
	$(MAKE) FUZZ_SECONDS=120 fuzz
	$(MAKE) -j$(JOBS) BUILD=build/tidy-deep TIDY_NODES=225000 tidy
# 20 random IMAP sessions on one account, every answer checked: also with the sanitizers.
STRESS_SECONDS ?= 60
.PHONY: stress
stress: all
	MS_STRESS_SECONDS=$(STRESS_SECONDS) $(PYTEST) -n 0 -s tests/protocol/test_imap_stress.py
check-protocol: all
	$(PYTEST) $(ONLY) tests/protocol
check-e2e: all $(BUILD)/format2.ok
	$(PYTEST) tests/e2e
# Power cuts and kills: a sample, and (an hour) all of it.
CRASH := MS_BUILD=$(BUILD) $(PYTHON) tests/crash/run.py $(if $(SEED),--seed $(SEED))
.PHONY: check-crash crash-full
check-crash: all mutants $(BUILD)/tests/crash-inspect $(BUILD)/tests/failmalloc.so
	$(CRASH)
crash-full: all mutants $(BUILD)/tests/crash-inspect $(BUILD)/tests/failmalloc.so
	$(CRASH) --full
# The web admin in Chromium: MS_SCREENSHOTS=folder keeps pictures.
.PHONY: check-browser
check-browser:
	@bash packaging/deps.sh --browser
	@$(MAKE) -j$(JOBS) all
	MS_BUILD=$(BUILD) $(PYTHON) -m pytest -q -p no:cacheprovider tests/browser
	MS_BUILD=$(BUILD) MS_UPLOADS=1000 $(PYTHON) -m pytest -q -p no:cacheprovider \
		-k mutated tests/e2e/test_webadmin_roles.py

# Parsers on random bytes (libFuzzer, both sanitizers), each for FUZZ_SECONDS, FUZZ_JOBS at once. They
# begin with tests/fuzz/corpus/NAME; what is new is in build/fuzz/found/NAME.new, and is kept with
# build/fuzz/fuzz/NAME -merge=1 tests/fuzz/corpus/NAME build/fuzz/found/NAME.new.
FUZZ_SECONDS ?= 10
FUZZ_JOBS ?= $(shell expr 2 \* $$(nproc))
FUZZERS := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_BUILD := build/fuzz
FUZZ_FLAGS := -g -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
.PHONY: fuzz
fuzz:
	$(MAKE) CC=clang BUILD=$(FUZZ_BUILD) SAN=address,undefined,fuzzer-no-link fuzz-run
.PHONY: fuzz-run
fuzz-run: $(FUZZERS:%=$(BUILD)/fuzz/%)
	@printf '%s\n' $(FUZZERS) | xargs -P $(FUZZ_JOBS) -I{} sh -c '\
		mkdir -p tests/fuzz/corpus/{} $(BUILD)/found/{}.new; \
		echo "fuzz: {}"; \
		$(BUILD)/fuzz/{} -max_total_time=$(FUZZ_SECONDS) -malloc_limit_mb=64 -rss_limit_mb=1024 \
			-timeout=10 -max_len=16384 -verbosity=0 -print_final_stats=0 \
			-artifact_prefix=$(BUILD)/found/{}- $(BUILD)/found/{}.new tests/fuzz/corpus/{} \
			>$(BUILD)/found/{}.log 2>&1 || { tail -30 $(BUILD)/found/{}.log; exit 255; }'
	@echo "$(words $(FUZZERS)) passed, 0 failed"
# Servers have functions of the same names: the session's own folders only.
$(BUILD)/fuzz/fuzz_smtp_session: $(BUILD)/tests/fuzz/fuzz_smtp_session.o $(COMMON_LIBS) \
		$(BUILD)/lib/smtpd-receive.a $(BUILD)/lib/smtpd-queue.a
	@mkdir -p $(@D) $(BUILD)/found/fuzz_smtp_session.new
	$(CC) $(FUZZ_FLAGS) -fsanitize=fuzzer -pthread -o $@ $< -Wl,--start-group $(filter %.a,$^) \
		-Wl,--end-group $(EXTLIBS)
$(BUILD)/fuzz/fuzz_imap_session $(BUILD)/fuzz/fuzz_pop3_session: $(BUILD)/fuzz/fuzz_%_session: \
		$(BUILD)/tests/fuzz/fuzz_%_session.o $(COMMON_LIBS) $(BUILD)/lib/imapd.a $(BUILD)/lib/pop3d.a
	@mkdir -p $(@D) $(BUILD)/found/fuzz_$*_session.new
	$(CC) $(FUZZ_FLAGS) -fsanitize=fuzzer -pthread -o $@ $< -Wl,--start-group $(COMMON_LIBS) \
		$(BUILD)/lib/$*d.a -Wl,--end-group $(EXTLIBS)
$(BUILD)/fuzz/fuzz_%: $(BUILD)/tests/fuzz/fuzz_%.o $(COMMON_LIBS) $(FOLDER_LIBS)
	@mkdir -p $(@D) $(BUILD)/found/fuzz_$*.new
	$(CC) $(FUZZ_FLAGS) -fsanitize=fuzzer -pthread -o $@ $< -Wl,--start-group $(filter %.a,$^) \
		-Wl,--end-group $(EXTLIBS)

# Unit and protocol tests again, with the address and undefined behaviour sanitizers.
asan:
	@$(MAKE) -j$(JOBS) BUILD=build/asan SAN=address,undefined all unit-tests
	$(MAKE) BUILD=build/asan SAN=address,undefined ONLY="$(ONLY)" check-unit check-protocol

# The threaded parts again, with the thread sanitizer.
TSAN_TESTS := event log blob db db_rules intake ipc store_async store_mail store_model
.PHONY: tsan
tsan:
	$(MAKE) BUILD=build/tsan SAN=thread UNIT="$(TSAN_TESTS:%=build/tsan/tests/test_%)" check-unit

# --- figures: a large mailbox here and in Debian's Dovecot; BENCH="--messages 20000 ..." ---------
# A client that is faster than what it measures.
$(BUILD)/bench/smtp_load: tests/bench/smtp_load.c Makefile
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -o $@ $< $(ALL_LDFLAGS) $(shell $(PKG_CONFIG) --libs openssl)
$(BUILD)/bench/smtp_sink: tests/bench/smtp_sink.c Makefile
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -o $@ $< $(ALL_LDFLAGS) $(shell $(PKG_CONFIG) --libs openssl)
# Mail out, against Debian's Postfix; as root.
.PHONY: bench-outbound
bench-outbound: all $(BUILD)/bench/smtp_sink
	packaging/deps.sh --bench
	MS_BUILD=$(BUILD) $(PYTHON) tests/bench/bench_outbound.py $(BENCH)
# 100,000 that wait, half of them for a dead domain.
.PHONY: bench-queue
bench-queue: all $(BUILD)/bench/smtp_sink
	MS_BUILD=$(BUILD) $(PYTHON) tests/bench/bench_queue.py $(BENCH)
# Against Debian's Postfix and Dovecot, installed if they are missing and run as one's own.
.PHONY: bench-smtp
bench-smtp: all $(BUILD)/bench/smtp_load
	packaging/deps.sh --bench
	MS_BUILD=$(BUILD) $(PYTHON) tests/bench/bench_smtp.py $(BENCH)

$(BUILD)/bench/slowflush.so: tests/bench/slowflush.c
	@mkdir -p $(@D)
	$(CC) -std=c17 -O1 -D_GNU_SOURCE -shared -fPIC -o $@ $<
# Durable messages a second, flushes and bytes for each, also with a slow disk.
.PHONY: bench-store
bench-store: all $(BUILD)/bench/smtp_load $(BUILD)/bench/slowflush.so
	MS_BUILD=$(BUILD) $(PYTHON) tests/bench/bench_durable.py $(BENCH)

.PHONY: bench-imap bench-memory
# Resting memory by process against Debian's Postfix and Dovecot, logins, time of a change; as root.
bench-memory: all
	packaging/deps.sh --bench
	MS_BUILD=$(BUILD) $(PYTHON) tests/bench/bench_memory.py $(BENCH)
bench-imap: all
	MS_BUILD=$(BUILD) $(PYTHON) tests/bench/bench_imap.py $(BENCH)
	MS_BUILD=$(BUILD) $(PYTHON) tests/bench/bench_imap_write.py $(BENCH)
	MS_BUILD=$(BUILD) $(PYTHON) tests/bench/bench_imap_sessions.py $(BENCH)

# --- checks of the source ----------------------------------------------------------------------
SOURCES = $(shell git ls-files -co --exclude-standard '*.c' '*.h')
PRODUCT_C = $(shell find common smtpd imapd pop3d webadmin -name '*.c' 2>/dev/null)
.PHONY: lint tidy cppcheck analyzer deps-check source-check format format-check
lint: source-check cppcheck tidy analyzer
source-check: generated-check
	$(PYTHON) tests/support/source_check.py
deps-check:
	$(PYTHON) tests/support/deps_check.py
cppcheck:
	cppcheck --std=c11 --enable=warning,portability --inline-suppr --quiet --error-exitcode=1 \
		--suppress=missingIncludeSystem -D__cppcheck__ -D__x86_64__ -D__LP64__ -D_GNU_SOURCE -j 2 -I. $(PRODUCT_C)
# One stamp per file, so that only what changed is looked at again. The analyzer gives a function up
# after so many states: a tenth of its default takes a seventh of the time; check-long goes on.
TIDY_NODES ?= 20000
TIDY_ARGS := $(foreach a,-analyzer-config max-nodes=$(TIDY_NODES),--extra-arg=-Xclang --extra-arg=$(a))
$(BUILD)/tidy/%.ok: %.c .clang-tidy
	@mkdir -p $(@D)
	@clang-tidy --quiet $(TIDY_ARGS) $< -- -std=c17 $(BASE_CPPFLAGS) 2>$@.log || { cat $@.log; exit 1; }
	@touch $@
tidy: $(patsubst %.c,$(BUILD)/tidy/%.ok,$(PRODUCT_C))
$(BUILD)/analyzer/%.ok: %.c
	@mkdir -p $(@D)
	gcc -std=c17 -O1 -fanalyzer -Werror $(BASE_CPPFLAGS) -pthread -c -o /dev/null $<
	@touch $@
analyzer: $(patsubst %.c,$(BUILD)/analyzer/%.ok,$(PRODUCT_C))
format:
	clang-format -i $(SOURCES)
format-check:
	clang-format --dry-run -Werror $(SOURCES)

# --- trying and installing ---------------------------------------------------------------------
DIR ?= run
PORT_BASE ?= 10000
BIND ?= 127.0.0.1
ONESHOT ?=
.PHONY: quickstart generated generated-check install help
quickstart:
	@bash packaging/deps.sh --build-only
	@echo "building in $(BUILD) ..."
	@$(MAKE) -s -j$(JOBS) all
	@exec $(PYTHON) packaging/quickstart.py --dir '$(DIR)' --port-base '$(PORT_BASE)' \
		--bind '$(BIND)' --bin '$(BUILD)/bin' $(if $(filter-out 0 no,$(ONESHOT)),--oneshot)

# What the settings table says, in the forms people read. Kept in git, so that installing needs no
# run of what was built (it may be for another machine).
GENERATED := etc/mailstead.conf packaging/man/mailstead.conf.5
generated: $(BUILD)/bin/mailsteadctl
	$(BUILD)/bin/mailsteadctl config sample >etc/mailstead.conf
	$(BUILD)/bin/mailsteadctl config man >packaging/man/mailstead.conf.5
generated-check: $(BUILD)/bin/mailsteadctl
	@$(BUILD)/bin/mailsteadctl config sample | cmp - etc/mailstead.conf && \
	$(BUILD)/bin/mailsteadctl config man | cmp - packaging/man/mailstead.conf.5 || \
	{ echo "the settings changed: run 'make generated' and commit what it wrote"; exit 1; }

MAN_PAGES := $(wildcard packaging/man/*.5 packaging/man/*.7 packaging/man/*.8)
LIBEXEC = $(DESTDIR)$(libexecdir)/mailstead
install: all
	$(INSTALL) -d $(LIBEXEC) $(DESTDIR)$(bindir) $(DESTDIR)$(docdir) \
		$(DESTDIR)$(datadir)/mailstead $(DESTDIR)$(sysconfdir)/mailstead
	$(INSTALL) -m 755 $(filter-out %/mailsteadctl $(MONITOR_NAMES:%=$(BUILD)/bin/%),$(BINS)) $(LIBEXEC)
	cd $(LIBEXEC) && for name in $(MONITOR_NAMES); do ln -f $(firstword $(MONITORS)) $$name; done
	$(INSTALL) -m 755 $(BUILD)/bin/mailsteadctl $(DESTDIR)$(bindir)
	$(INSTALL) -m 644 README.md CHANGELOG.md $(DESTDIR)$(docdir)
	$(INSTALL) -D -m 644 -t $(DESTDIR)$(docdir)/manual packaging/manual/*.md
	sed 's|^#paths.libexec = /usr/libexec/mailstead$$|paths.libexec = $(libexecdir)/mailstead|' \
		etc/mailstead.conf >$(DESTDIR)$(datadir)/mailstead/mailstead.conf
	chmod 644 $(DESTDIR)$(datadir)/mailstead/mailstead.conf
	@# What the administrator wrote stays.
	[ -e $(DESTDIR)$(sysconfdir)/mailstead/mailstead.conf ] || $(INSTALL) -m 644 \
		$(DESTDIR)$(datadir)/mailstead/mailstead.conf $(DESTDIR)$(sysconfdir)/mailstead
	for page in $(MAN_PAGES); do section=$${page##*.}; \
		$(INSTALL) -d $(DESTDIR)$(mandir)/man$$section && \
		$(INSTALL) -m 644 $$page $(DESTDIR)$(mandir)/man$$section || exit 1; done

# What a system around the programs needs: units, users, folders, firewalls. For packages.
SYSTEM := packaging/system
.PHONY: install-system install-sendmail deb
# The commands that every mail server has; only one on a machine can.
install-sendmail:
	$(INSTALL) -d $(DESTDIR)$(prefix)/sbin $(DESTDIR)$(prefix)/lib $(DESTDIR)$(mandir)/man8
	ln -sf ../bin/mailsteadctl $(DESTDIR)$(prefix)/sbin/sendmail
	ln -sf ../sbin/sendmail $(DESTDIR)$(prefix)/lib/sendmail
	ln -sf mailsteadctl $(DESTDIR)$(bindir)/mailq
	ln -sf mailsteadctl $(DESTDIR)$(bindir)/newaliases
	$(INSTALL) -m 644 $(SYSTEM)/sendmail.8 $(DESTDIR)$(mandir)/man8
	ln -sf sendmail.8 $(DESTDIR)$(mandir)/man8/mailq.8
	ln -sf sendmail.8 $(DESTDIR)$(mandir)/man8/newaliases.8
NEEDRESTART := $(sysconfdir)/needrestart/restart.d
install-system:
	$(INSTALL) -D -m 644 -t $(DESTDIR)$(unitdir) $(SYSTEM)/*.service $(SYSTEM)/*.timer \
		$(SYSTEM)/*.target
	$(INSTALL) -D -m 644 $(SYSTEM)/sysusers.conf $(DESTDIR)$(sysusersdir)/mailstead.conf
	$(INSTALL) -D -m 644 $(SYSTEM)/tmpfiles.conf $(DESTDIR)$(tmpfilesdir)/mailstead.conf
	$(INSTALL) -D -m 644 $(SYSTEM)/apparmor $(DESTDIR)$(sysconfdir)/apparmor.d/mailstead
	$(INSTALL) -D -m 644 $(SYSTEM)/ufw $(DESTDIR)$(sysconfdir)/ufw/applications.d/mailstead
	$(INSTALL) -D -m 644 -t $(DESTDIR)$(prefix)/lib/firewalld/services $(SYSTEM)/firewalld/*.xml
	$(INSTALL) -D -m 644 $(SYSTEM)/fail2ban/filter.conf \
		$(DESTDIR)$(sysconfdir)/fail2ban/filter.d/mailstead.conf
	$(INSTALL) -D -m 644 $(SYSTEM)/fail2ban/jail.conf \
		$(DESTDIR)$(sysconfdir)/fail2ban/jail.d/mailstead.conf
	$(INSTALL) -D -m 755 $(SYSTEM)/needrestart $(DESTDIR)$(NEEDRESTART)/mailstead-smtpd.service
	for name in imapd pop3d web-server acme maint; do \
		ln -sf mailstead-smtpd.service $(DESTDIR)$(NEEDRESTART)/mailstead-$$name.service; \
	done

# Debian packages, in $(BUILD)/deb. DEB_ARCH=arm64 or armhf builds for another machine.
DEB_ARCH ?=
deb:
	@bash packaging/deps.sh --deb
	@bash packaging/deb.sh '$(BUILD)/deb' $(DEB_ARCH)

# An RPM in $(BUILD)/rpm; an image for containers from the Debian package.
.PHONY: rpm oci
rpm:
	@bash packaging/rpm.sh '$(BUILD)/rpm'
oci: deb
	@bash packaging/oci/build.sh '$(BUILD)/deb'

help:
	@echo 'Trying and testing (these install what they need, on Debian):'
	@echo '  make quickstart    builds, runs a demo appliance in ./run and proves that mail flows;'
	@echo '                     DIR=./run PORT_BASE=10000 BIND=127.0.0.1 ONESHOT=1 (stop after the proof)'
	@echo '  make check         all tests: check-unit, check-protocol, check-e2e'
	@echo 'Building:'
	@echo '  make               the programs, in $$BUILD/bin; CC=clang, BUILD=dir, SAN=address,undefined'
	@echo '  make install       DESTDIR= prefix=/usr/local sysconfdir=/etc and the other GNU folders'
	@echo '  make deb           Debian packages, in $$BUILD/deb; DEB_ARCH=arm64 for another machine'
	@echo '  make rpm, make oci an RPM; an image for containers (rpmbuild, buildah must be there)'
	@echo '  make check-arm     unit tests and dialogues for arm64 and armhf under qemu (root)'
	@echo '  make check-install the package in a clean Debian (root); check-package: its gates too'
	@echo '  make clean         removes $$BUILD'
	@echo 'Working on it:'
	@echo '  make asan          unit and protocol tests with the address and undefined sanitizers'
	@echo '  make crash-full    every power cut and kill (an hour); check-crash takes a sample'
	@echo '  make tsan          the threaded unit tests with the thread sanitizer'
	@echo '  make lint          source-check, cppcheck, tidy (clang-tidy), analyzer (gcc -fanalyzer)'
	@echo '  make deps-check    who may include whom'
	@echo '  make format        clang-format; format-check only looks'
	@echo '  make generated     etc/mailstead.conf and its manual page from the settings table'

.PHONY: clean
clean:
	rm -rf $(BUILD)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
.SECONDARY:
.DELETE_ON_ERROR:
