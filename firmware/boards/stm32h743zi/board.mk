CPU := -mcpu=cortex-m7 -mthumb -mfloat-abi=hard -mfpu=fpv5-d16
BOARD_SOURCES := boards/stm32h743zi/board.c boards/stm32/stm32.c
BOARD_INCLUDE := boards/stm32h743zi boards/stm32
BINARIES := tinyse
tinyse_SECTIONS :=
