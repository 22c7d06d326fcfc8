/* arguments.h: the command line: tinyse IN.wav OUT.wav RESULTS.json [--network FILE] [--npu REQUEST REPLY]
 * [--exit N] */
#ifndef TINYSE_ARGUMENTS_H
#define TINYSE_ARGUMENTS_H

#include <stdint.h>

typedef struct arguments {
  const char *input, *output, *results;
  const char *network;        /* or NULL */
  const char *request, *reply; /* both or neither */
  uint32_t exit;               /* where every frame stops, from 1; 0 for what its plan says */
} arguments;

/* Cut `line` into its words, in place. NULL, or what is wrong. */
const char *arguments_parse(arguments *parsed, char *line);

#endif /* TINYSE_ARGUMENTS_H */
