/*
 * What the guests of `cargo xtask boot` do with their memory.
 *
 *   memory inhabit MIB [FILE]
 *                         makes pages of all classes that dump levels know, MIB of them or so, and stays in the background;
 *                         they hold what FILE holds, over and over again, and without one what does not compress
 *   memory fill SECONDS   writes every free page and reads it back, again and again for that long; exits with 1 when a
 *                         page does not hold what was written to it
 *
 * `fill` finds out what happens to memory that a kernel has freed although somebody needs it: whoever needs it dies, or
 * changes it under the writer. So it must reach the very last page: each round goes on until the kernel's OOM killer ends
 * the writer, which offers itself as the first victim.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB (1UL << 20)

static size_t page_size;
/* What the pages hold, if a file was named, and its length in pages. */
static const char *content;
static size_t content_pages;

static void fail(const char *what)
{
	fprintf(stderr, "memory: %s: %s\n", what, strerror(errno));
	exit(2);
}

static char *map(size_t length, int flags)
{
	char *at = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);

	if (at == MAP_FAILED)
		fail("mmap");
	return at;
}

/* What word `i` of page `page` holds in a round: no two pages are equal. */
static uint64_t word(uint64_t round, size_t page, size_t i)
{
	return (round << 56) ^ ((uint64_t)page << 20) ^ (i * 0x9e3779b97f4a7c15);
}

static void write_page(char *at, uint64_t round, size_t page)
{
	uint64_t *words = (uint64_t *)at;

	for (size_t i = 0; i < page_size / 8; i++)
		words[i] = word(round, page, i);
}

static void inhabit_page(char *at, uint64_t which, size_t page)
{
	if (content)
		memcpy(at, content + (which * 1000 + page) % content_pages * page_size, page_size);
	else
		write_page(at, which, page);
}

static int holds(const char *at, uint64_t round, size_t page)
{
	const uint64_t *words = (const uint64_t *)at;

	for (size_t i = 0; i < page_size / 8; i++)
		if (words[i] != word(round, page, i))
			return 0;
	return 1;
}

/* A line of /proc/meminfo, in bytes. */
static size_t meminfo(const char *key)
{
	char line[256];
	size_t kib = 0, length = strlen(key);
	FILE *file = fopen("/proc/meminfo", "r");

	if (!file)
		fail("/proc/meminfo");
	while (fgets(line, sizeof(line), file))
		if (!strncmp(line, key, length) && line[length] == ':')
			kib = strtoul(line + length + 1, NULL, 10);
	fclose(file);
	return kib << 10;
}

/* What a writer leaves for its parent, which outlives it. */
struct progress {
	volatile size_t written;
	volatile size_t read_back;
	volatile size_t wrong;
};

static void writer(struct progress *progress, uint64_t round)
{
	size_t all = meminfo("MemTotal") / page_size, free = meminfo("MemAvailable") / page_size, page;
	size_t first = free > 8 * MIB / page_size ? free - 8 * MIB / page_size : 0;
	char *at = map(all * page_size, MAP_PRIVATE);
	int file = open("/proc/self/oom_score_adj", O_WRONLY);

	if (file < 0 || write(file, "1000", 4) != 4)
		fail("oom_score_adj");
	close(file);
	for (page = 0; page < first; page++) {
		write_page(at + page * page_size, round, page);
		progress->written++;
	}
	/* Others have time to write where they should not. */
	sleep(1);
	for (page = 0; page < first; page++) {
		progress->wrong += !holds(at + page * page_size, round, page);
		progress->read_back++;
	}
	for (; page < all; page++) {
		write_page(at + page * page_size, round, page);
		progress->written++;
	}
	_exit(0);
}

static int fill(unsigned int seconds)
{
	time_t begun = time(NULL);
	size_t wrong = 0;

	for (uint64_t round = 1; time(NULL) - begun < seconds; round++) {
		struct progress *progress = (struct progress *)map(page_size, MAP_SHARED);
		pid_t child = fork();
		int status;

		if (child < 0)
			fail("fork");
		if (!child)
			writer(progress, round);
		waitpid(child, &status, 0);
		if (WIFEXITED(status) && WEXITSTATUS(status))
			return 2;
		printf("round %lu: %zu pages written, %zu read back, %zu wrong; %s; %ld s\n", (unsigned long)round,
		       progress->written, progress->read_back, progress->wrong,
		       WIFSIGNALED(status) ? "until memory ended" : "all memory", (long)(time(NULL) - begun));
		fflush(stdout);
		wrong += progress->wrong;
		munmap(progress, page_size);
	}
	printf("%zu pages wrong\n", wrong);
	return wrong != 0;
}

/* A file with `length` bytes, which stays in the page cache. */
static void cache(const char *path, size_t length)
{
	int file = open(path, O_CREAT | O_RDWR, 0600);
	char *block = map(MIB, MAP_PRIVATE);

	if (file < 0)
		fail(path);
	for (size_t done = 0; done < length; done += MIB) {
		for (size_t page = 0; page < MIB / page_size; page++)
			inhabit_page(block + page * page_size, 100, done / page_size + page);
		if (write(file, block, MIB) < 0)
			fail(path);
	}
	fsync(file);
	close(file);
}

/* A process of its own that keeps `length` bytes of private memory. */
static void inhabitant(uint64_t which, size_t length, int huge)
{
	char *at;

	if (fork())
		return;
	at = map(length, MAP_PRIVATE);
	if (huge)
		madvise(at, length, MADV_HUGEPAGE);
	for (size_t page = 0; page < length / page_size; page++)
		inhabit_page(at + page * page_size, which, page);
	kill(getppid(), SIGUSR1);
	for (;;)
		pause();
}

static int inhabit(size_t mib)
{
	const int inhabitants = 4;
	size_t share = mib * MIB / 8 / page_size * page_size;
	char *at;
	sigset_t ready;
	int signal;

	sigemptyset(&ready);
	sigaddset(&ready, SIGUSR1);
	sigprocmask(SIG_BLOCK, &ready, NULL);
	/* Each says when it is done before the next one starts: pending signals do not add up. */
	for (int i = 0; i < inhabitants; i++) {
		inhabitant(i + 1, share, i == 0);
		sigwait(&ready, &signal);
	}
	cache("/tmp/inhabited", share);
	cache("/var/tmp/inhabited", share);
	/* Free pages that are not zero. */
	at = map(share, MAP_PRIVATE);
	for (size_t page = 0; page < share / page_size; page++)
		inhabit_page(at + page * page_size, 200, page);
	munmap(at, share);
	return 0;
}

static void take_content(const char *path)
{
	int file = open(path, O_RDONLY);
	off_t length = file < 0 ? -1 : lseek(file, 0, SEEK_END);
	void *at;

	if (length < (off_t)page_size)
		fail(path);
	content_pages = length / page_size;
	at = mmap(NULL, content_pages * page_size, PROT_READ, MAP_PRIVATE, file, 0);
	if (at == MAP_FAILED)
		fail(path);
	content = at;
}

int main(int count, char **argument)
{
	page_size = sysconf(_SC_PAGESIZE);
	if (count == 4 && !strcmp(argument[1], "inhabit"))
		take_content(argument[3]);
	if ((count == 3 || count == 4) && !strcmp(argument[1], "inhabit"))
		return inhabit(strtoul(argument[2], NULL, 10));
	if (count == 3 && !strcmp(argument[1], "fill"))
		return fill(strtoul(argument[2], NULL, 10));
	fprintf(stderr, "memory inhabit MIB [FILE] | memory fill SECONDS\n");
	return 2;
}
