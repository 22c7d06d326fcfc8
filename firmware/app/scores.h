/* scores.h: what a network that scores said of a sound, in millionths: summed for results.c, and as lines of a file. */
#ifndef TINYSE_SCORES_H
#define TINYSE_SCORES_H

#include <stdint.h>

#define SCORES_BYTES 24 /* of a number as text */

typedef struct scores {
  uint32_t count; /* from the first run that has heard TINYSE_SCORE_WINDOW on; what follows is 0 where there is none */
  int64_t sum, least, most, last;
} scores;

/* After run `runs` of the network, which said `value`. */
void scores_add(scores *all, uint32_t runs, float value);
int64_t scores_mean(const scores *all);

/* Millionths as "-1.234", to the nearest thousandth. */
const char *scores_text(int64_t millionths, char text[SCORES_BYTES]);

/* "5.120 1.234\n": the end of the window in seconds, and the newest score. NULL, or why not. */
const char *scores_write(const scores *all, uint32_t runs, int32_t file);

#endif /* TINYSE_SCORES_H */
