/* semihosting.h: files and exit on the host that debugs or emulates the image. Where no host answers, every call
 * fails as below. Files may be named pipes: reads then block until the other end writes. */
#ifndef TINYSE_SEMIHOSTING_H
#define TINYSE_SEMIHOSTING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Binary modes of tinyse_semihosting_open. */
#define TINYSE_SEMIHOSTING_READ 1
#define TINYSE_SEMIHOSTING_WRITE 5
#define TINYSE_SEMIHOSTING_APPEND 9

/* A file's handle, or -1. */
int tinyse_semihosting_open(const char *path, int mode);

bool tinyse_semihosting_close(int file);

/* Bytes that were read, written; fewer than asked for at the end, at an error, or from a pipe. */
size_t tinyse_semihosting_read(int file, void *data, size_t bytes);
size_t tinyse_semihosting_write(int file, const void *data, size_t bytes);

/* Absolute, in bytes. */
bool tinyse_semihosting_seek(int file, uint32_t position);

/* Bytes of a file, or -1. */
int64_t tinyse_semihosting_length(int file);

/* The command line, terminated; false where there is no host. */
bool tinyse_semihosting_command_line(char *text, size_t size);

/* End the image with an exit code; without a host, stop. */
void tinyse_exit(int code) __attribute__((noreturn));

#ifdef __cplusplus
}
#endif

#endif /* TINYSE_SEMIHOSTING_H */
