# The floating-point unit is single precision only.
CPU := -mcpu=cortex-m7 -mthumb -mfloat-abi=hard -mfpu=fpv5-sp-d16
BOARD_SOURCES := boards/stm32f746g-disco/board.c boards/stm32/stm32.c
BOARD_INCLUDE := boards/stm32f746g-disco boards/stm32
BINARIES := tinyse
tinyse_SECTIONS :=
