#include "semihosting.h"

#include <string.h>

enum {
  SYS_OPEN = 0x01,
  SYS_CLOSE = 0x02,
  SYS_WRITE = 0x05,
  SYS_READ = 0x06,
  SYS_SEEK = 0x0A,
  SYS_FLEN = 0x0C,
  SYS_CLOCK = 0x10,
  SYS_GET_CMDLINE = 0x15,
  SYS_EXIT_EXTENDED = 0x20
};

#define APPLICATION_EXIT 0x20026u

static uint32_t call(uint32_t operation, const void *block) {
  register uint32_t r0 __asm("r0") = operation;
  register const void *r1 __asm("r1") = block;
  __asm volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory", "cc", "r2", "r3", "r12", "lr");
  return r0;
}

static uint32_t address(const void *pointer) { return (uint32_t)(uintptr_t)pointer; }

int32_t tinyse_semihost_open(const char *path, int mode) {
  const uint32_t block[3] = {address(path), (uint32_t)mode, (uint32_t)strlen(path)};
  return (int32_t)call(SYS_OPEN, block);
}

int tinyse_semihost_close(int32_t handle) {
  const uint32_t block[1] = {(uint32_t)handle};
  return call(SYS_CLOSE, block) == 0 ? 0 : -1;
}

/* Both answer with the bytes that are left over. */
static size_t transfer(uint32_t operation, int32_t handle, const void *data, size_t bytes) {
  const uint32_t block[3] = {(uint32_t)handle, address(data), (uint32_t)bytes};
  const uint32_t left = call(operation, block);
  return left <= bytes ? bytes - left : 0;
}

size_t tinyse_semihost_read(int32_t handle, void *data, size_t bytes) {
  return transfer(SYS_READ, handle, data, bytes);
}

size_t tinyse_semihost_write(int32_t handle, const void *data, size_t bytes) {
  return transfer(SYS_WRITE, handle, data, bytes);
}

int tinyse_semihost_seek(int32_t handle, uint32_t position) {
  const uint32_t block[2] = {(uint32_t)handle, position};
  return call(SYS_SEEK, block) == 0 ? 0 : -1;
}

int32_t tinyse_semihost_flen(int32_t handle) {
  const uint32_t block[1] = {(uint32_t)handle};
  return (int32_t)call(SYS_FLEN, block);
}

int tinyse_semihost_cmdline(char *buffer, size_t bytes) {
  uint32_t block[2] = {address(buffer), (uint32_t)bytes};
  if (bytes == 0) return -1;
  buffer[0] = '\0';
  if (call(SYS_GET_CMDLINE, block) != 0) return -1;
  buffer[bytes - 1] = '\0';
  return 0;
}

uint32_t tinyse_semihost_clock(void) { return call(SYS_CLOCK, NULL); }

void tinyse_semihost_exit(int code) {
  const uint32_t block[2] = {APPLICATION_EXIT, (uint32_t)code};
  (void)call(SYS_EXIT_EXTENDED, block);
  for (;;) {
    __asm volatile("wfi");
  }
}
