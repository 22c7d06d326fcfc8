CPU := -mcpu=cortex-m55 -mthumb -mfloat-abi=hard
BOARD_SOURCES := boards/corstone300/board.c
BOARD_INCLUDE := boards/corstone300
# One file per memory, for the MPS3's drive.
BINARIES := itcm ddr
itcm_SECTIONS := -j .vectors -j .text -j .rodata -j .init_array -j .data
ddr_SECTIONS := -j .model
