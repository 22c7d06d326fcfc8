#include "cosim.h"

#include <string.h>

#include "payload.h"
#include "semihosting.h"

#define MAGIC 0x50435354u /* "TSCP" */
#define VERSION 2u
#define CRC_POLYNOMIAL 0xEDB88320u

/* Kinds of message. Each is a 12-byte header (kind, part, bytes of what follows) and its bytes; little endian. */
enum { KIND_HELLO = 1, KIND_RUN = 2, KIND_DONE = 3, KIND_ERROR = 4 };

typedef struct header {
  uint32_t kind;
  uint32_t part;
  uint32_t bytes;
} header;

/* CRC-32 as in zlib. Computed once for each signal: not worth a table. */
static uint32_t crc32(const uint8_t *data, uint32_t bytes) {
  uint32_t crc = UINT32_MAX;
  for (uint32_t i = 0; i < bytes; i++) {
    crc ^= data[i];
    for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1u ? CRC_POLYNOMIAL : 0u);
  }
  return ~crc;
}

static tinyse_status fail(tinyse_cosim *cosim, const char *text) {
  reason_clear(&cosim->reason);
  reason_text(&cosim->reason, text);
  return TINYSE_ERROR_NPU;
}

static bool write_all(int32_t file, const void *data, size_t bytes) {
  const uint8_t *at = data;
  while (bytes) {
    const size_t moved = tinyse_semihost_write(file, at, bytes);
    if (moved == 0 || moved > bytes) return false;
    at += moved;
    bytes -= moved;
  }
  return true;
}

static bool read_all(int32_t file, void *data, size_t bytes) {
  uint8_t *at = data;
  while (bytes) {
    const size_t moved = tinyse_semihost_read(file, at, bytes);
    if (moved == 0 || moved > bytes) return false;
    at += moved;
    bytes -= moved;
  }
  return true;
}

static void disconnect(tinyse_cosim *cosim) {
  if (!cosim->connected) return;
  tinyse_semihost_close(cosim->request);
  tinyse_semihost_close(cosim->reply);
  cosim->connected = false;
}

/* The request pipe first: the host opens them in this order. */
static bool connect(tinyse_cosim *cosim) {
  if (cosim->connected) return true;
  cosim->request = tinyse_semihost_open(cosim->request_path, TINYSE_SEMIHOST_WRITE);
  if (cosim->request < 0) return false;
  cosim->reply = tinyse_semihost_open(cosim->reply_path, TINYSE_SEMIHOST_READ);
  if (cosim->reply < 0) {
    tinyse_semihost_close(cosim->request);
    return false;
  }
  cosim->connected = true;
  return true;
}

static tinyse_status broken(tinyse_cosim *cosim, const char *text) {
  disconnect(cosim);
  return fail(cosim, text);
}

/* Send what is for a part and wait for its answer, whose bytes go to `answer` if they are `answer_bytes`. */
static tinyse_status exchange(tinyse_cosim *cosim, uint32_t kind, uint32_t part, const void *data, uint32_t data_bytes,
                              void *answer, uint32_t answer_bytes) {
  header head = {.kind = kind, .part = part, .bytes = data_bytes};
  if (!write_all(cosim->request, &head, sizeof head) || !write_all(cosim->request, data, data_bytes) ||
      !read_all(cosim->reply, &head, sizeof head)) {
    return broken(cosim, "the simulator closed its pipe");
  }
  if (head.kind == KIND_ERROR && head.bytes < TINYSE_REASON_BYTES) {
    tinyse_reason *reason = &cosim->reason;
    reason_clear(reason);
    if (!read_all(cosim->reply, reason->text, head.bytes)) return broken(cosim, "the simulator closed its pipe");
    reason->used = head.bytes;
    reason->text[head.bytes] = '\0';
    if (reason->text[0] == '\0') (void)fail(cosim, "the simulator failed and does not say why");
    disconnect(cosim);
    return TINYSE_ERROR_NPU;
  }
  if (head.kind != KIND_DONE || head.part != part || head.bytes != answer_bytes) return broken(cosim, "the simulator's answer is garbled");
  if (!read_all(cosim->reply, answer, answer_bytes)) return broken(cosim, "the simulator closed its pipe");
  return TINYSE_OK;
}

static tinyse_status open_npu(void *context, const tinyse_npu_job *job) {
  tinyse_cosim *cosim = context;
  tinyse_payload payload;
  reason_clear(&cosim->reason);
  const char *wrong = tinyse_payload_parse(job->payload, job->payload_bytes, &payload);
  if (wrong) {
    fail(cosim, wrong);
    return TINYSE_ERROR_MODEL;
  }
  if (!connect(cosim)) return fail(cosim, "the simulator's pipes cannot be opened");
  const uint32_t greeting[] = {MAGIC, VERSION, crc32(payload.stream, payload.stream_bytes),
                               crc32(job->weights, job->weights_bytes), job->arena_bytes};
  return exchange(cosim, KIND_HELLO, job->part, greeting, sizeof greeting, NULL, 0);
}

/* The fast scratch stays with the host: nothing in it outlives a run. */
static tinyse_status run_npu(void *context, const tinyse_npu_job *job) {
  tinyse_cosim *cosim = context;
  reason_clear(&cosim->reason);
  if (!cosim->connected) return fail(cosim, "the simulator is not connected");
  const tinyse_status status = exchange(cosim, KIND_RUN, job->part, job->arena, job->arena_bytes, job->arena,
                                        job->arena_bytes);
  if (status == TINYSE_OK) cosim->runs++;
  return status;
}

static void get_counts(void *context, tinyse_npu_counts *counts) {
  *counts = (tinyse_npu_counts){.runs = ((tinyse_cosim *)context)->runs};
}

static void clear_counts(void *context) { ((tinyse_cosim *)context)->runs = 0; }

static const char *get_reason(void *context) { return ((tinyse_cosim *)context)->reason.text; }

void tinyse_cosim_init(tinyse_cosim *cosim, const char *request_path, const char *reply_path) {
  memset(cosim, 0, sizeof *cosim);
  cosim->request_path = request_path;
  cosim->reply_path = reply_path;
}

tinyse_npu tinyse_cosim_npu(tinyse_cosim *cosim) {
  return (tinyse_npu){.name = "simulator", .context = cosim, .open = open_npu, .run = run_npu, .counts = get_counts,
                      .clear = clear_counts, .reason = get_reason};
}
