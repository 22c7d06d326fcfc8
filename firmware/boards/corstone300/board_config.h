/* Corstone-300. Addresses are the secure ones where the processor is in the secure state, as after reset. */
#ifndef TINYSE_BOARD_CONFIG_H
#define TINYSE_BOARD_CONFIG_H

#define BOARD_NAME "corstone300"
#define BOARD_CORE "cortex-m55"
#define BOARD_CLOCK_HZ 32000000u /* of the MPS3 image */
#define BOARD_INTERRUPTS 96
#define BOARD_NPU_BASE 0x58102000u
#define BOARD_NPU_IRQ 56
#define BOARD_TIMING_ADAPTER_0 0x58103000u
#define BOARD_TIMING_ADAPTER_1 0x58103200u

#endif /* TINYSE_BOARD_CONFIG_H */
