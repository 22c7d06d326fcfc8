/* semihosting.h: files, pipes and exit of the host, for firmware under QEMU, an FVP or a debugger.
 * Implemented by app/semihosting.c (Arm semihosting) and, in host tests, over POSIX. */
#ifndef TINYSE_SEMIHOSTING_H
#define TINYSE_SEMIHOSTING_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The mode numbers of SYS_OPEN. */
#define TINYSE_SEMIHOST_READ 1  /* "rb" */
#define TINYSE_SEMIHOST_WRITE 5 /* "wb": create or truncate */

/* A handle, or -1. Opening a named pipe blocks until its other end is open. */
int32_t tinyse_semihost_open(const char *path, int mode);

/* Bytes moved: 0 at the end of the file or on an error, and on a pipe possibly less than asked: loop. */
size_t tinyse_semihost_read(int32_t handle, void *data, size_t bytes);
size_t tinyse_semihost_write(int32_t handle, const void *data, size_t bytes);

/* 0, or -1. */
int tinyse_semihost_close(int32_t handle);
int tinyse_semihost_seek(int32_t handle, uint32_t position);

/* Bytes of the file, or -1. */
int32_t tinyse_semihost_flen(int32_t handle);

/* Ends the program on the host with this exit code. */
void tinyse_semihost_exit(int code) __attribute__((noreturn));

/* The command line, zero-terminated; 0, or -1 where there is none or it does not fit. */
int tinyse_semihost_cmdline(char *buffer, size_t bytes);

/* Host time since the start in 1/100 s: not the time of the emulated processor. */
uint32_t tinyse_semihost_clock(void);

#ifdef __cplusplus
}
#endif

#endif /* TINYSE_SEMIHOSTING_H */
