/* network_tflm.cc: the network in the user's own TensorFlow Lite Micro (BACKEND=tflm, TFLM_DIR=...).
 * Resolver and interpreter live at the start of the arena; what is left of it is the interpreter's. */
#include <cstring>
#include <new>

#include "network.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/schema/schema_generated.h"

static_assert(TINYSE_PARTS == 1 && TINYSE_PAIRS == 0, "TFLM runs one part that keeps its states: build with BACKEND=cpu");

namespace {

constexpr size_t kOperators = 4;

struct Engine {
  Engine() : interpreter(nullptr) {}
  tflite::MicroMutableOpResolver<kOperators> resolver;
  alignas(tflite::MicroInterpreter) unsigned char place[sizeof(tflite::MicroInterpreter)];
  tflite::MicroInterpreter *interpreter; /* in `place`; NULL until it has its tensors */
};

constexpr size_t kEngineBytes = (sizeof(Engine) + TINYSE_ARENA_ALIGNMENT - 1) & ~size_t{TINYSE_ARENA_ALIGNMENT - 1};
static_assert(alignof(Engine) <= TINYSE_ARENA_ALIGNMENT, "the arena's alignment serves the interpreter");
static_assert(kEngineBytes < TINYSE_NETWORK_BYTES, "the arena has no room: raise TINYSE_NETWORK_BYTES");

bool fits(const TfLiteTensor *tensor, size_t values) {
  return tensor && tensor->type == kTfLiteInt8 && tensor->bytes == values;
}

}  // namespace

tinyse_status tinyse_network_init(void *arena, const struct tinyse_npu *) {
  Engine *engine = new (arena) Engine;
  const tflite::Model *model = tflite::GetModel(tinyse_model);
  if (model->version() != TFLITE_SCHEMA_VERSION) return TINYSE_ERROR_MODEL;
  if (engine->resolver.AddUnidirectionalSequenceLSTM() != kTfLiteOk ||
      engine->resolver.AddFullyConnected() != kTfLiteOk || engine->resolver.AddLogistic() != kTfLiteOk ||
      engine->resolver.AddEthosU() != kTfLiteOk) {
    return TINYSE_ERROR_MODEL;
  }
  uint8_t *rest = static_cast<uint8_t *>(arena) + kEngineBytes;
  tflite::MicroInterpreter *interpreter =
      new (engine->place) tflite::MicroInterpreter(model, engine->resolver, rest, TINYSE_NETWORK_BYTES - kEngineBytes);
  if (interpreter->AllocateTensors() != kTfLiteOk) return TINYSE_ERROR_MODEL; /* an operator, or the arena's size */
  if (!fits(interpreter->input(0), TINYSE_INPUTS) || !fits(interpreter->output(0), TINYSE_OUTPUTS)) return TINYSE_ERROR_MODEL;
  engine->interpreter = interpreter;
  return TINYSE_OK;
}

void tinyse_network_reset(void *arena) {
  (void)static_cast<Engine *>(arena)->interpreter->Reset(); /* variable tensors to their zero points */
}

tinyse_status tinyse_network_run(void *arena, const struct tinyse_npu *, uint32_t,
                                 const tinyse_input feature[TINYSE_INPUTS], tinyse_output mask[TINYSE_OUTPUTS],
                                 uint32_t *ran) {
  *ran = 0;
  tflite::MicroInterpreter *interpreter = static_cast<Engine *>(arena)->interpreter;
  std::memcpy(interpreter->input(0)->data.int8, feature, TINYSE_INPUTS);
  if (interpreter->Invoke() != kTfLiteOk) return TINYSE_ERROR_NPU;
  std::memcpy(mask, interpreter->output(0)->data.int8, TINYSE_OUTPUTS);
  *ran = 1;
  return TINYSE_OK;
}
