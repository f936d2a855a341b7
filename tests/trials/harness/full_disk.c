/* Preloaded into a process, lets it write nothing more to files while the file that FULL_DISK
 * names holds a number other than 0: the disk is full. Sockets, pipes and what it prints are
 * left alone. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static volatile const long *full;

__attribute__((constructor)) static void open_switch(void) {
  const char *path = getenv("FULL_DISK");
  int file = path ? open(path, O_RDONLY) : -1;
  if (file < 0) return;
  void *map = mmap(NULL, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
  close(file);
  if (map != MAP_FAILED) full = map;
}

static int refused(int file) {
  struct stat about;
  if (!full || !*full || file <= 2 || fstat(file, &about) || !S_ISREG(about.st_mode)) return 0;
  errno = ENOSPC;
  return 1;
}

ssize_t write(int file, const void *data, size_t size) {
  return refused(file) ? -1 : syscall(SYS_write, file, data, size);
}

ssize_t writev(int file, const struct iovec *parts, int count) {
  return refused(file) ? -1 : syscall(SYS_writev, file, parts, count);
}

ssize_t pwrite(int file, const void *data, size_t size, off_t at) {
  return refused(file) ? -1 : syscall(SYS_pwrite64, file, data, size, at);
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t at) {
  return refused(file) ? -1 : syscall(SYS_pwrite64, file, data, size, at);
}

int fallocate(int file, int mode, off_t at, off_t size) {
  return refused(file) ? -1 : (int)syscall(SYS_fallocate, file, mode, at, size);
}

int posix_fallocate(int file, off_t at, off_t size) {
  return refused(file) ? ENOSPC : (syscall(SYS_fallocate, file, 0, at, size) ? errno : 0);
}
