# The STM32F746's own flags: its floating-point unit is single precision only.
CPU := -mcpu=cortex-m7 -mthumb -mfloat-abi=hard -mfpu=fpv5-sp-d16
BOARD_SOURCES := boards/mps2-an500/board.c
BOARD_INCLUDE := boards/mps2-an500
BINARIES := tinyse
tinyse_SECTIONS :=
