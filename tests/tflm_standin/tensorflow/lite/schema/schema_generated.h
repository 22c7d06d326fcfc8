#ifndef STANDIN_SCHEMA_GENERATED_H
#define STANDIN_SCHEMA_GENERATED_H

#include <cstdint>

#ifndef TF_LITE_STATIC_MEMORY
#error "the library is built with TF_LITE_STATIC_MEMORY, so this must be too"
#endif

#define TFLITE_SCHEMA_VERSION (3)

namespace tflite {

struct Model {
  uint8_t bytes[8];
  /* A real file: the identifier is what there is to check without a schema. */
  uint32_t version() const { return bytes[4] == 'T' && bytes[5] == 'F' && bytes[6] == 'L' ? bytes[7] - '0' : 0u; }
};

inline const Model *GetModel(const void *buffer) { return static_cast<const Model *>(buffer); }

}  // namespace tflite

#endif
