# What is compiled: SOURCES and LIBRARIES, by BACKEND.
SOURCES := $(wildcard app/*.c) $(BOARD_SOURCES) src/tinyse.c src/frontend.c model/model.c \
  $(wildcard third_party/cmsis-dsp/Source/*/*.c)
LIBRARIES :=
ifeq ($(BACKEND),cpu)
SOURCES += src/network_cpu.c src/operators.c src/operators_map.c $(wildcard src/kernels*.c) model/packed.c
endif
ifeq ($(BACKEND),npu)
SOURCES += src/network_npu.c src/payload.c src/ethosu.c src/timing_adapter.c src/cosim.c src/core_driver.c
endif
