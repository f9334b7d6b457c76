/* ask-jail PID: stops every thread of the daemon at its next system calls, and makes others of them. One that is in the filter's
 * table must get through to the kernel, all others must be refused. Exit status 0 if so; what is wrong is printed. */
#define _GNU_SOURCE
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>

#if defined(__aarch64__)
struct registers { unsigned long x[31], sp, pc, pstate; };
#define ARGUMENT(all, n) ((all)->x[n])
#define RESULT(all) ((long)(all)->x[0])
static void again(struct registers *r) { r->pc -= 4; }
static long renumber(pid_t thread, int number)
{
	struct iovec all = { &number, sizeof number };
	return ptrace(PTRACE_SETREGSET, thread, 0x404 /* NT_ARM_SYSTEM_CALL */, &all);
}
#elif defined(__arm__)
struct registers { unsigned long r[18]; };
#define ARGUMENT(all, n) ((all)->r[n])
#define RESULT(all) ((long)(all)->r[0])
/* Behind the instruction: two bytes of Thumb code, as bit 5 of the status word says, or four. */
static void again(struct registers *r)
{
	r->r[15] -= r->r[16] >> 5 & 1 ? 2 : 4;
	r->r[0] = r->r[17]; /* as it was before the call */
}
static long renumber(pid_t thread, int number) { return ptrace(23 /* PTRACE_SET_SYSCALL */, thread, 0, number); }
#else
#error "for the boards that boot here"
#endif

static const struct {
	const char *name;
	long number;
	unsigned long arguments[4];
} refused[] = {
	{ "openat for writing", SYS_openat, { AT_FDCWD, 0, O_WRONLY } },
	{ "openat to create", SYS_openat, { AT_FDCWD, 0, O_CREAT } },
	{ "mkdirat", SYS_mkdirat, { AT_FDCWD } },
	{ "unlinkat", SYS_unlinkat, { AT_FDCWD } },
	{ "linkat", SYS_linkat, { AT_FDCWD } },
	{ "symlinkat", SYS_symlinkat, { 0, AT_FDCWD } },
	{ "execve", SYS_execve, { 0 } },
	{ "clone", SYS_clone, { 17 } },
	{ "ptrace", SYS_ptrace, { PTRACE_ATTACH, 1 } },
	{ "kill", SYS_kill, { 1, 0 } },
	{ "setuid", SYS_setuid, { 0 } },
	{ "setpriority", SYS_setpriority, { 0, 0, 0 } },
	{ "prlimit64", SYS_prlimit64, { 0, 4, 0, 0 } },
	{ "mount", SYS_mount, { 0 } },
	{ "unshare", SYS_unshare, { 0x10000000 } },
	{ "chroot", SYS_chroot, { 0 } },
	{ "seccomp", SYS_seccomp, { 1 } },
	{ "bpf", SYS_bpf, { 0 } },
	{ "a socket of another family", SYS_socket, { 10, 1 } },
	{ "a socket for connections", SYS_socket, { 2, 1 } },
	{ "a socket for datagrams", SYS_socket, { 2, 2 } },
	{ "SO_DONTROUTE", SYS_setsockopt, { -1UL, 1, 5, 0 } },
	{ "IP_OPTIONS", SYS_setsockopt, { -1UL, 0, 4, 0 } },
	{ "IP_TTL", SYS_setsockopt, { -1UL, 0, 2, 0 } },
	{ "an unknown call", 4000, { 0 } },
#ifdef __arm__
	{ "mmap2 to execute", SYS_mmap2, { 0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS } },
#else
	{ "mmap to execute", SYS_mmap, { 0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS } },
#endif
};

/* Of no socket: IP_TOS, IP_MINTTL, SO_PRIORITY, SO_MAX_PACING_RATE, SO_BINDTOIFINDEX, TCP_NODELAY. */
static const unsigned long options[][4] = {
	{ -1UL, 0, 1 }, { -1UL, 0, 21 }, { -1UL, 1, 12 }, { -1UL, 1, 47 }, { -1UL, 1, 62 }, { -1UL, 6, 1 },
};

static void give_up(const char *what)
{
	perror(what);
	exit(71);
}

static void wait_for_stop(pid_t thread)
{
	int status;
	if (waitpid(thread, &status, __WALL) != thread || !WIFSTOPPED(status))
		give_up("it does not stop");
}

static void registers(pid_t thread, int request, struct registers *into)
{
	struct iovec all = { into, sizeof *into };
	if (ptrace(request, thread, NT_PRSTATUS, &all) != 0)
		give_up("registers");
}

/* To the next entry of a call, or from there to its exit. */
static void go_on(pid_t thread)
{
	if (ptrace(PTRACE_SYSCALL, thread, 0, 0) != 0)
		give_up("a call");
	wait_for_stop(thread);
}

/* The thread is at the entry of a call of its own, and will be again. */
static long try(pid_t thread, const struct registers *entry, int number, const unsigned long *arguments)
{
	struct registers now = *entry;
	for (int n = 0; n < 4; n++)
		ARGUMENT(&now, n) = arguments[n];
	registers(thread, PTRACE_SETREGSET, &now);
	if (renumber(thread, number) != 0)
		give_up("another call");
	go_on(thread);
	registers(thread, PTRACE_GETREGSET, &now);
	long result = RESULT(&now);
	now = *entry;
	again(&now);
	registers(thread, PTRACE_SETREGSET, &now);
	go_on(thread);
	return result;
}

static int ask(pid_t thread)
{
	static const unsigned long nowhere[4] = { -1UL };
	struct registers entry;
	int wrong = 0;
	if (ptrace(PTRACE_ATTACH, thread, 0, 0) != 0)
		give_up("attach");
	wait_for_stop(thread);
	go_on(thread);
	registers(thread, PTRACE_GETREGSET, &entry);
	long result = try(thread, &entry, SYS_close, nowhere);
	if (result != -EBADF)
		wrong += printf("close, which is allowed: %ld\n", result) > 0;
	for (size_t n = 0; n < sizeof options / sizeof *options; n++) {
		/* The length is the fifth argument and whatever the thread had there: EBADF or EINVAL, both from behind the filter. */
		result = try(thread, &entry, SYS_setsockopt, options[n]);
		if (result == -EPERM)
			wrong += printf("option %lu of level %lu is allowed and refused: %ld\n", options[n][2], options[n][1], result) > 0;
	}
	for (size_t n = 0; n < sizeof refused / sizeof *refused; n++) {
		result = try(thread, &entry, refused[n].number, refused[n].arguments);
		if (result != -EPERM)
			wrong += printf("%s: %ld\n", refused[n].name, result) > 0;
	}
	/* At the entry of its own call. */
	ptrace(PTRACE_DETACH, thread, 0, 0);
	return wrong;
}

int main(int argc, char **argv)
{
	char path[64];
	int threads = 0, wrong = 0;
	if (argc != 2)
		return 64;
	snprintf(path, sizeof path, "/proc/%s/task", argv[1]);
	DIR *tasks = opendir(path);
	if (tasks == NULL)
		give_up(path);
	for (struct dirent *task; (task = readdir(tasks)) != NULL;) {
		if (task->d_name[0] == '.')
			continue;
		threads++;
		wrong += ask(atoi(task->d_name));
	}
	printf("%d threads, %zu calls each, %d not refused\n", threads, sizeof refused / sizeof *refused, wrong);
	return threads == 2 && wrong == 0 ? 0 : 1;
}
