#include "scores.h"

#include <stddef.h>
#include <string.h>

#include "semihosting.h"
#include "tinyse.h"

#if TINYSE_RESULT == TINYSE_RESULT_SCORE

void scores_add(scores *all, uint32_t runs, float value) {
  if (runs < TINYSE_SCORE_WINDOW) return;
  const int64_t score = (int64_t)(value * 1e6f + (value < 0.0f ? -0.5f : 0.5f));
  if (!all->count || score < all->least) all->least = score;
  if (!all->count || score > all->most) all->most = score;
  all->count++;
  all->sum += score;
  all->last = score;
}

int64_t scores_mean(const scores *all) { return all->count ? all->sum / (int64_t)all->count : 0; }

const char *scores_text(int64_t millionths, char text[SCORES_BYTES]) {
  uint64_t value = (uint64_t)(millionths < 0 ? -millionths : millionths);
  char *at = text + SCORES_BYTES - 1;
  *at = '\0';
  value = (value + 500u) / 1000u;
  const int negative = millionths < 0 && value;
  for (int digits = 0; digits < 4 || value; digits++) {
    if (digits == 3) *--at = '.';
    *--at = (char)('0' + value % 10u);
    value /= 10u;
  }
  if (negative) *--at = '-';
  return at;
}

const char *scores_write(const scores *all, uint32_t runs, int32_t file) {
  char text[SCORES_BYTES], line[2 * SCORES_BYTES];
  const uint64_t samples = (uint64_t)runs * TINYSE_ROWS * TINYSE_HOP;
  strcpy(line, scores_text((int64_t)(samples * 1000000u / TINYSE_SAMPLE_RATE), text));
  strcat(line, " ");
  strcat(line, scores_text(all->last, text));
  strcat(line, "\n");
  const size_t bytes = strlen(line);
  return tinyse_semihost_write(file, line, bytes) == bytes ? NULL : "the scores cannot be written";
}

#endif
