/* fault.h: a fault ends the image with one line on the UART, and exit code TINYSE_EXIT_FAULT. */
#ifndef TINYSE_FAULT_H
#define TINYSE_FAULT_H

#define TINYSE_EXIT_FAULT 4

/* Vectors 2 to 7. A semihosting call that nobody answers comes here as well: it returns -1 to its caller. */
void tinyse_fault_handler(void);

/* An interrupt that nobody asked for. */
void tinyse_fault_interrupt(void);

#endif /* TINYSE_FAULT_H */
