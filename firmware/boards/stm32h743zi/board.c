#include "board.h"

#include "cache.h"
#include "dwt.h"
#include "registers.h"
#include "stm32.h"

#define RCC_CR REGISTER(0x58024400u)
#define RCC_CFGR REGISTER(0x58024410u)
#define RCC_D1CFGR REGISTER(0x58024418u)
#define RCC_D2CFGR REGISTER(0x5802441Cu)
#define RCC_D3CFGR REGISTER(0x58024420u)
#define RCC_PLLCKSELR REGISTER(0x58024428u)
#define RCC_PLLCFGR REGISTER(0x5802442Cu)
#define RCC_PLL1DIVR REGISTER(0x58024430u)
#define RCC_AHB4ENR REGISTER(0x580244E0u)
#define RCC_APB1LENR REGISTER(0x580244E8u)
#define PWR_CSR1 REGISTER(0x58024804u)
#define PWR_CR3 REGISTER(0x5802480Cu)
#define PWR_D3CR REGISTER(0x58024818u)
#define FLASH_ACR REGISTER(0x52002000u)
#define GPIOD 0x58020C00u

#define RCC_CR_HSIRDY (1u << 2)
#define RCC_CR_PLL1ON (1u << 24)
#define RCC_CR_PLL1RDY (1u << 25)
#define READY (1u << 13) /* PWR_CSR1.ACTVOSRDY, PWR_D3CR.VOSRDY */

#define APB1_HZ (BOARD_CLOCK_HZ / 4)

/* 400 MHz out of the internal 64 MHz: / 4, * 50, / 2; the buses run at a half, the peripherals at a quarter. */
static void clock_init(void) {
  PWR_CR3 = 1u << 1 | 1u << 2; /* LDO on; the register locks itself */
  (void)stm32_wait(&PWR_CSR1, READY, READY);
  PWR_D3CR |= 3u << 14; /* VOS1 */
  (void)stm32_wait(&PWR_D3CR, READY, READY);
  (void)stm32_wait(&RCC_CR, RCC_CR_HSIRDY, RCC_CR_HSIRDY);
  RCC_PLLCKSELR = (RCC_PLLCKSELR & ~(63u << 4 | 3u)) | 4u << 4; /* HSI / 4 */
  RCC_PLLCFGR = (RCC_PLLCFGR & ~15u) | 3u << 2 /* 8 to 16 MHz in */ | 1u << 16 /* P */;
  RCC_PLL1DIVR = (50u - 1) | (2u - 1) << 9 | (8u - 1) << 16 | (2u - 1) << 24;
  RCC_CR |= RCC_CR_PLL1ON;
  (void)stm32_wait(&RCC_CR, RCC_CR_PLL1RDY, RCC_CR_PLL1RDY);
  FLASH_ACR = 2u | 2u << 4; /* wait states and signal delay of VOS1 at 200 MHz */
  (void)stm32_wait(&FLASH_ACR, 15u, 2u);
  RCC_D1CFGR = 8u | 4u << 4;
  RCC_D2CFGR = 4u << 4 | 4u << 8;
  RCC_D3CFGR = 4u << 4;
  RCC_CFGR = (RCC_CFGR & ~7u) | 3u; /* SW: PLL1 */
  (void)stm32_wait(&RCC_CFGR, 7u << 3, 3u << 3);
}

void board_init(void) {
  clock_init();
  cache_enable();
  RCC_AHB4ENR |= 1u << 3;   /* GPIOD */
  RCC_APB1LENR |= 1u << 18; /* USART3 */
  (void)RCC_APB1LENR;
  stm32_pin_alternate(GPIOD, 8, 7);
  stm32_uart_init(BOARD_UART, APB1_HZ);
  (void)dwt_start();
}
