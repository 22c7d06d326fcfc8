#ifndef STANDIN_MICRO_MUTABLE_OP_RESOLVER_H
#define STANDIN_MICRO_MUTABLE_OP_RESOLVER_H

#include <cstddef>

enum TfLiteStatus { kTfLiteOk = 0, kTfLiteError = 1 };

namespace tflite {

class MicroOpResolver {
 public:
  virtual ~MicroOpResolver() {}
  virtual unsigned operators() const = 0;

 private:
  void operator delete(void *) {}
};

template <unsigned int tOpCount>
class MicroMutableOpResolver : public MicroOpResolver {
 public:
  MicroMutableOpResolver() {}
  TfLiteStatus AddUnidirectionalSequenceLSTM() { return Add(1); }
  TfLiteStatus AddFullyConnected() { return Add(2); }
  TfLiteStatus AddLogistic() { return Add(4); }
  TfLiteStatus AddEthosU() { return Add(8); }
  unsigned operators() const override { return set_; }

 private:
  void operator delete(void *) {}
  TfLiteStatus Add(unsigned bit) {
    if (count_ == tOpCount) return kTfLiteError;
    count_++;
    set_ |= bit;
    return kTfLiteOk;
  }
  unsigned count_ = 0, set_ = 0;
};

}  // namespace tflite

#endif
