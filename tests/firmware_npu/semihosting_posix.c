/* firmware/include/semihosting.h over POSIX, as far as cosim.c needs it. */
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "semihosting.h"

int32_t tinyse_semihost_open(const char *path, int mode) {
  signal(SIGPIPE, SIG_IGN);
  return open(path, mode == TINYSE_SEMIHOST_READ ? O_RDONLY : O_WRONLY);
}

size_t tinyse_semihost_read(int32_t handle, void *data, size_t bytes) {
  const ssize_t moved = read(handle, data, bytes);
  return moved < 0 ? 0 : (size_t)moved;
}

size_t tinyse_semihost_write(int32_t handle, const void *data, size_t bytes) {
  const ssize_t moved = write(handle, data, bytes);
  return moved < 0 ? 0 : (size_t)moved;
}

int tinyse_semihost_close(int32_t handle) { return close(handle); }
