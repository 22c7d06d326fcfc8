# TensorFlow Lite Micro, built by the user: TFLM_DIR is its source tree, TFLM_LIBRARY its libtensorflow-microlite.a for
# the board's core (default: found under TFLM_DIR).
ifneq ($(TFLM_LACKS),)
$(error $(TFLM_LACKS): build with BACKEND=cpu or npu)
endif
TFLM_DIR ?=
TFLM_CORE := $(patsubst -mcpu=%,%,$(filter -mcpu=%,$(CPU)))
TFLM_LIBRARY ?= $(firstword $(wildcard $(TFLM_DIR)/gen/*$(TFLM_CORE)*/lib/libtensorflow-microlite.a \
  $(TFLM_DIR)/lib/libtensorflow-microlite.a $(TFLM_DIR)/libtensorflow-microlite.a))
ifeq ($(wildcard $(TFLM_DIR)/tensorflow/lite/micro/micro_interpreter.h),)
$(error TFLM_DIR=$(TFLM_DIR) holds no tensorflow/lite/micro: name your TensorFlow Lite Micro tree)
endif
ifeq ($(TFLM_LIBRARY),)
$(error TFLM_DIR=$(TFLM_DIR) holds no libtensorflow-microlite.a for $(TFLM_CORE): build it, or give TFLM_LIBRARY=)
endif
TFLM_DOWNLOADS := $(TFLM_DIR)/tensorflow/lite/micro/tools/make/downloads
SOURCES += src/network_tflm.cc
LIBRARIES += $(call quoted,$(TFLM_LIBRARY))
# The library is built with it too: it decides what its tensors look like.
DEFINES += -DTF_LITE_STATIC_MEMORY
TFLM_INCLUDES := $(TFLM_DIR) $(addprefix $(TFLM_DOWNLOADS)/,flatbuffers/include gemmlowp ruy)
INCLUDES += $(foreach folder,$(TFLM_INCLUDES),-isystem $(call quoted,$(folder)))
