/* The network alone: int8 frames from frames.bin, masks to masks.bin, ticks of every frame to ticks.bin.
 * A host program, or an image for QEMU with its own start and a few semihosting calls. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __arm__

#define SYSTICK ((volatile uint32_t *)0xE000E010u)

int main(void);
extern uint32_t stack_top[], bss_start[], bss_end[], data_start[], data_end[];
extern const uint32_t data_load[];

static uint32_t call(uint32_t operation, const void *block) {
  register uint32_t r0 __asm("r0") = operation;
  register const void *r1 __asm("r1") = block;
  __asm volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory", "cc");
  return r0;
}

static void leave(uint32_t code) {
  const uint32_t block[2] = {0x20026u, code};
  (void)call(0x20, block);
  for (;;) {
  }
}

static void fault(void) { leave(99); }

void start(void);
void start(void) {
  *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20;
  __asm volatile("dsb\n isb" ::: "memory");
  for (uint32_t *at = bss_start; at < bss_end;) {
    *at++ = 0;
  }
  const uint32_t *from = data_load;
  for (uint32_t *at = data_start; at < data_end;) {
    *at++ = *from++;
  }
  SYSTICK[1] = 0xFFFFFFu;
  SYSTICK[2] = 0;
  SYSTICK[0] = 5;
  leave((uint32_t)main());
}

typedef void (*handler)(void);
__attribute__((section(".vectors"), used)) static const handler vectors[16] = {
  (handler)(uintptr_t)stack_top, start, fault, fault, fault, fault, fault, fault,
  fault, fault, fault, fault, fault, fault, fault, fault};

typedef uint32_t stream;
static stream open(const char *name, int write) {
  const uint32_t block[3] = {(uint32_t)(uintptr_t)name, write ? 5u : 1u, (uint32_t)strlen(name)};
  return call(0x01, block);
}
static int read(stream file, void *data, uint32_t bytes) {
  const uint32_t block[3] = {file, (uint32_t)(uintptr_t)data, bytes};
  return call(0x06, block) == 0;
}
static void write(stream file, const void *data, uint32_t bytes) {
  const uint32_t block[3] = {file, (uint32_t)(uintptr_t)data, bytes};
  (void)call(0x05, block);
}
static void close(stream file) { (void)call(0x02, &file); }
static uint32_t ticks(void) { return 0xFFFFFFu - SYSTICK[2]; }

#else

#include <stdio.h>
#include <time.h>

typedef FILE *stream;
static stream open(const char *name, int write) { return fopen(name, write ? "wb" : "rb"); }
static int read(stream file, void *data, uint32_t bytes) { return fread(data, 1, bytes, file) == bytes; }
static void write(stream file, const void *data, uint32_t bytes) { (void)fwrite(data, 1, bytes, file); }
static void close(stream file) { (void)fclose(file); }
static uint32_t ticks(void) {
  struct timespec now;
  (void)timespec_get(&now, TIME_UTC);
  return (uint32_t)((uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
}

#endif

#ifndef HARNESS_PARTS

#include "network.h"

static _Alignas(TINYSE_ARENA_ALIGNMENT) uint8_t arena[TINYSE_NETWORK_BYTES];
static _Alignas(16) int8_t feature[TINYSE_INPUTS], mask[TINYSE_OUTPUTS];

int main(void) {
  stream in = open("frames.bin", 0), out = open("masks.bin", 1), times = open("ticks.bin", 1);
  memset(arena, 0x5A, sizeof arena);
  if (tinyse_network_init(arena, NULL) != TINYSE_OK) {
    return 1;
  }
  tinyse_network_reset(arena);
  while (read(in, feature, sizeof feature)) {
    const uint32_t before = ticks();
    uint32_t ran;
    if (tinyse_network_run(arena, NULL, 0, feature, mask, &ran) != TINYSE_OK || ran != 1) {
      return 2;
    }
    const uint32_t spent = ticks() - before;
    write(out, mask, sizeof mask);
    write(times, &spent, sizeof spent);
  }
  close(out);
  close(times);
  return 0;
}

#endif
