CPU := -mcpu=cortex-m55 -mthumb -mfloat-abi=hard
BOARD_SOURCES := boards/corstone300/board.c
BOARD_INCLUDE := boards/corstone300
