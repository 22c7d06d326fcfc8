#include <cstdlib>

#include "model.h"
#include "tensorflow/lite/micro/micro_interpreter.h"

namespace {

/* As a library with constructors has it: left out of the start-up, the step is 0. */
struct Step {
  Step() : value(static_cast<int8_t>(std::labs(-1))) {}
  volatile int8_t value;
};
Step step;

}  // namespace

namespace tflite {

MicroInterpreter::MicroInterpreter(const Model *, const MicroOpResolver &resolver, uint8_t *arena, size_t size,
                                   MicroResourceVariables *, MicroProfilerInterface *, bool)
    : resolver_(resolver), arena_(arena), size_(size) {}

MicroInterpreter::~MicroInterpreter() {}

TfLiteStatus MicroInterpreter::AllocateTensors() {
  const bool complete = resolver_.operators() == 15;
  const bool aligned = reinterpret_cast<uintptr_t>(arena_) % 16 == 0;
  if (!complete || !aligned || size_ < TINYSE_INPUTS + TINYSE_OUTPUTS) return kTfLiteError;
  for (int i = 0; i < 2; i++) {
    tensors_[i].type = kTfLiteInt8;
    tensors_[i].bytes = i ? TINYSE_OUTPUTS : TINYSE_INPUTS;
    tensors_[i].data.int8 = reinterpret_cast<int8_t *>(arena_) + i * TINYSE_INPUTS;
  }
  arena_[size_ - 1] = 1; /* the last byte must be there */
  allocated_ = true;
  return kTfLiteOk;
}

TfLiteStatus MicroInterpreter::Reset() {
  frame_ = 0;
  return allocated_ ? kTfLiteOk : kTfLiteError;
}

TfLiteStatus MicroInterpreter::Invoke() {
  if (!allocated_) return kTfLiteError;
  frame_ = static_cast<uint8_t>(frame_ + step.value);
  for (int i = 0; i < TINYSE_OUTPUTS; i++) {
    tensors_[1].data.int8[i] = static_cast<int8_t>(tensors_[0].data.int8[i % TINYSE_INPUTS] + frame_);
  }
  return kTfLiteOk;
}

TfLiteTensor *MicroInterpreter::input(size_t index) { return index == 0 ? &tensors_[0] : nullptr; }

TfLiteTensor *MicroInterpreter::output(size_t index) { return index == 0 ? &tensors_[1] : nullptr; }

}  // namespace tflite
