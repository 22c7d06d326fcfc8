#include "board.h"

#include "cache.h"
#include "dwt.h"
#include "registers.h"
#include "stm32.h"

#define RCC_CR REGISTER(0x40023800u)
#define RCC_PLLCFGR REGISTER(0x40023804u)
#define RCC_CFGR REGISTER(0x40023808u)
#define RCC_AHB1ENR REGISTER(0x40023830u)
#define RCC_APB1ENR REGISTER(0x40023840u)
#define RCC_APB2ENR REGISTER(0x40023844u)
#define PWR_CR1 REGISTER(0x40007000u)
#define PWR_CSR1 REGISTER(0x40007004u)
#define FLASH_ACR REGISTER(0x40023C00u)
#define GPIOA 0x40020000u

#define RCC_CR_HSEON (1u << 16)
#define RCC_CR_HSERDY (1u << 17)
#define RCC_CR_PLLON (1u << 24)
#define RCC_CR_PLLRDY (1u << 25)
#define PWR_ODEN (1u << 16) /* CR1; ready in CSR1 at the same bit */
#define PWR_ODSWEN (1u << 17)

#define HSE_MHZ 25u
#define HSI_MHZ 16u
#define VCO_MHZ 432u
#define APB2_HZ (BOARD_CLOCK_HZ / 2)

/* 216 MHz: the PLL multiplies 1 MHz by 432, halves it, and the regulator overdrives. */
static void clock_init(void) {
  RCC_CR |= RCC_CR_HSEON;
  const int crystal = stm32_wait(&RCC_CR, RCC_CR_HSERDY, RCC_CR_HSERDY);
  RCC_APB1ENR |= 1u << 28; /* PWR */
  (void)RCC_APB1ENR;
  PWR_CR1 |= 3u << 14; /* VOS: scale 1 */
  RCC_PLLCFGR = (crystal ? HSE_MHZ : HSI_MHZ) | VCO_MHZ << 6 | 0u << 16 /* P = 2 */ |
                (crystal ? 1u << 22 : 0u) | 9u << 24 /* Q: 48 MHz */;
  RCC_CR |= RCC_CR_PLLON;
  PWR_CR1 |= PWR_ODEN;
  (void)stm32_wait(&PWR_CSR1, PWR_ODEN, PWR_ODEN);
  PWR_CR1 |= PWR_ODSWEN;
  (void)stm32_wait(&PWR_CSR1, PWR_ODSWEN, PWR_ODSWEN);
  FLASH_ACR = 7u | 1u << 8 /* prefetch */;
  (void)stm32_wait(&FLASH_ACR, 15u, 7u);
  (void)stm32_wait(&RCC_CR, RCC_CR_PLLRDY, RCC_CR_PLLRDY);
  RCC_CFGR = 2u /* SW: PLL */ | 5u << 10 /* APB1 / 4 */ | 4u << 13 /* APB2 / 2 */;
  (void)stm32_wait(&RCC_CFGR, 3u << 2, 2u << 2);
}

void board_init(void) {
  clock_init();
  cache_enable();
  RCC_AHB1ENR |= 1u;      /* GPIOA */
  RCC_APB2ENR |= 1u << 4; /* USART1 */
  (void)RCC_APB2ENR;
  stm32_pin_alternate(GPIOA, 9, 7);
  stm32_uart_init(BOARD_UART, APB2_HZ);
  (void)dwt_start();
}
