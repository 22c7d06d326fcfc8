/* stack.h: the stack's bounds, from the linker script, and its high-water mark. */
#ifndef TINYSE_STACK_H
#define TINYSE_STACK_H

#include <stdint.h>

extern uint32_t tinyse_stack_bottom[], tinyse_stack_top[];

/* Fill what is below the caller's frame. */
void tinyse_stack_paint(void);

uint32_t tinyse_stack_bytes(void);

/* The most that was ever used since the painting, in bytes. */
uint32_t tinyse_stack_used(void);

#endif /* TINYSE_STACK_H */
