/* The system call filter, in the kernel's own language: a list of jumps. */
#include "common/daemon/sandbox.h"

#include "common/base/mem.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__) && defined(__LP64__)
#define OUR_ARCH AUDIT_ARCH_X86_64
#elif defined(__i386__)
#define OUR_ARCH AUDIT_ARCH_I386
#elif defined(__aarch64__)
#define OUR_ARCH AUDIT_ARCH_AARCH64
#elif defined(__arm__)
#define OUR_ARCH AUDIT_ARCH_ARM
#elif defined(__riscv) && __riscv_xlen == 64
#define OUR_ARCH AUDIT_ARCH_RISCV64
#elif defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
#define OUR_ARCH AUDIT_ARCH_PPC64LE
#else
#error "no system call filter for this architecture yet"
#endif

#define X32_BIT 0x40000000u
#define PROGRAM_MAX 256

/* What starts programs, or becomes somebody else: the business of who starts the others. */
static const int launching[] = {
    SYS_execve,
    SYS_execveat,
#ifndef MS_SANITIZED
#ifdef SYS_fork
    SYS_fork,
    SYS_vfork,
#endif
#endif
    SYS_setuid,
    SYS_setgid,
    SYS_setreuid,
    SYS_setregid,
    SYS_setresuid,
    SYS_setresgid,
    SYS_setgroups,
    SYS_setfsuid,
    SYS_setfsgid,
#ifdef SYS_setuid32
    SYS_setuid32,
    SYS_setgid32,
    SYS_setreuid32,
    SYS_setregid32,
    SYS_setresuid32,
    SYS_setresgid32,
    SYS_setgroups32,
    SYS_setfsuid32,
    SYS_setfsgid32,
#endif
    SYS_capset,
};

/* Looking into other processes: nobody who does honest work here does that. */
static const int spying[] = {
#ifndef MS_SANITIZED
    SYS_ptrace,
    SYS_process_vm_readv,
    SYS_personality,
#endif
    SYS_process_vm_writev,
    SYS_kcmp,
};

/* What only root can do, and none of our programs does; others that they start may try. */
static const int ruling[] = {
    /* another view of the system */
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_chroot,
    SYS_unshare,
    SYS_setns,
    SYS_open_by_handle_at,
    SYS_fanotify_init,
#ifdef SYS_open_tree
    SYS_open_tree,
    SYS_move_mount,
    SYS_fsopen,
    SYS_fsconfig,
    SYS_fsmount,
    SYS_fspick,
#endif
#ifdef SYS_mount_setattr
    SYS_mount_setattr,
#endif
#ifdef SYS_pidfd_getfd
    SYS_pidfd_getfd,
#endif
    /* the kernel itself */
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
#ifdef SYS_kexec_load
    SYS_kexec_load,
#endif
#ifdef SYS_kexec_file_load
    SYS_kexec_file_load,
#endif
    SYS_bpf,
    SYS_perf_event_open,
    SYS_userfaultfd,
    SYS_add_key,
    SYS_request_key,
    SYS_keyctl,
    SYS_reboot,
    SYS_swapon,
    SYS_swapoff,
    SYS_acct,
    SYS_quotactl,
    SYS_syslog,
    SYS_vhangup,
    SYS_sethostname,
    SYS_setdomainname,
    SYS_settimeofday,
    SYS_clock_settime,
#ifdef SYS_iopl
    SYS_iopl,
    SYS_ioperm,
    SYS_modify_ldt,
#endif
};

/* Reading is harmless, and the web admin's programs do. */
static const int tuning[] = {
    SYS_adjtimex,
    SYS_clock_adjtime,
};

/* Libraries try these and go on without. */
static const int missing[] = {
#ifdef SYS_clone3
    SYS_clone3,
#endif
#ifdef SYS_io_uring_setup
    SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register,
#endif
#ifdef SYS_socketcall
    SYS_socketcall, /* hides which kind of socket it makes */
#endif
};

struct program {
	struct sock_filter list[PROGRAM_MAX];
	unsigned short n;
};

static void add(struct program *p, uint16_t code, uint32_t k, uint8_t if_true, uint8_t if_false)
{
	if (p->n == PROGRAM_MAX)
		fatal("the system call filter is too long");
	p->list[p->n++] = (struct sock_filter){code, if_true, if_false, k};
}

static void load(struct program *p, size_t offset)
{
	add(p, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

static void give(struct program *p, uint32_t action)
{
	add(p, BPF_RET | BPF_K, action, 0, 0);
}

/* The value that is loaded is k: action. */
static void if_equal(struct program *p, uint32_t k, uint32_t action)
{
	add(p, BPF_JMP | BPF_JEQ | BPF_K, k, 0, 1);
	give(p, action);
}

static void add_all(struct program *p, const int *calls, size_t n, uint32_t action)
{
	for (size_t i = 0; i < n; i++)
		if_equal(p, (uint32_t)calls[i], action);
}

/* Arguments are 64 bits wide; those we look at are ints or flags: the low half. */
static size_t low_half(unsigned arg)
{
	size_t at = offsetof(struct seccomp_data, args) + arg * sizeof(uint64_t);

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	at += sizeof(uint32_t);
#endif
	return at;
}

static uint32_t fails_with(int number)
{
	return SECCOMP_RET_ERRNO | (uint32_t)number;
}

/* Each of these ends with a verdict, so they stand behind a jump that passes them over. */
static void begin_call(struct program *p, int nr, unsigned length)
{
	add(p, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, (uint8_t)length);
}

static void add_sockets(struct program *p, bool has_inet)
{
	begin_call(p, SYS_socket, has_inet ? 8 : 4);
	load(p, low_half(0));
	if_equal(p, AF_UNIX, SECCOMP_RET_ALLOW);
	if (has_inet) {
		if_equal(p, AF_INET, SECCOMP_RET_ALLOW);
		if_equal(p, AF_INET6, SECCOMP_RET_ALLOW);
	}
	give(p, fails_with(EAFNOSUPPORT));
}

static void add_threads(struct program *p)
{
#ifndef MS_SANITIZED
	begin_call(p, SYS_clone, 4);
	load(p, low_half(0));
	add(p, BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 0, 1);
	give(p, SECCOMP_RET_ALLOW);
	give(p, SECCOMP_RET_KILL_PROCESS);
#endif
}

/* Code comes from files, libraries, and from nowhere else. */
static void add_memory(struct program *p)
{
#ifdef SYS_mmap2
	begin_call(p, SYS_mmap2, 7);
#else
	begin_call(p, SYS_mmap, 7);
#endif
	load(p, low_half(2));
	add(p, BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 0, 3);
	load(p, low_half(3));
	add(p, BPF_JMP | BPF_JSET | BPF_K, MAP_ANONYMOUS, 0, 1);
	give(p, fails_with(EPERM));
	give(p, SECCOMP_RET_ALLOW);
	give(p, SECCOMP_RET_ALLOW);
	begin_call(p, SYS_mprotect, 4);
	load(p, low_half(2));
	add(p, BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 0, 1);
	give(p, fails_with(EPERM));
	give(p, SECCOMP_RET_ALLOW);
}

static void make_program(struct program *p, bool has_inet, bool is_launcher)
{
	load(p, offsetof(struct seccomp_data, arch));
	add(p, BPF_JMP | BPF_JEQ | BPF_K, OUR_ARCH, 1, 0);
	give(p, SECCOMP_RET_KILL_PROCESS);
	load(p, offsetof(struct seccomp_data, nr));
	/* No call: what a tracer puts in the place of one that it lets fail (the crash tests do).
	 */
	if_equal(p, ~0U, SECCOMP_RET_ALLOW);
#ifdef __x86_64__
	add(p, BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 0, 1);
	give(p, SECCOMP_RET_KILL_PROCESS);
#endif
	if (!is_launcher) {
		add_all(p, launching, ARRAY_LEN(launching), SECCOMP_RET_KILL_PROCESS);
		add_all(p, tuning, ARRAY_LEN(tuning), SECCOMP_RET_KILL_PROCESS);
	}
	add_all(p, spying, ARRAY_LEN(spying), SECCOMP_RET_KILL_PROCESS);
	add_all(p, ruling, ARRAY_LEN(ruling),
	    is_launcher ? fails_with(EPERM) : SECCOMP_RET_KILL_PROCESS);
	add_all(p, missing, ARRAY_LEN(missing), fails_with(ENOSYS));
	add_sockets(p, has_inet);
	if (!is_launcher) {
		add_threads(p);
		add_memory(p);
	}
	give(p, SECCOMP_RET_ALLOW);
}

static int enter(bool has_inet, bool is_launcher, struct err *err)
{
	struct program p = {.n = 0};
	struct sock_fprog prog = {.filter = p.list};

	make_program(&p, has_inet, is_launcher);
	prog.len = p.n;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0) < 0)
		return err_errno(err, errno, "the kernel takes no system call filter");
	return 0;
}

int seccomp_enter(bool has_inet, struct err *err)
{
	return enter(has_inet, false, err);
}

int seccomp_enter_launcher(struct err *err)
{
	return enter(true, true, err);
}
