#include "arguments.h"

#include <stddef.h>
#include <string.h>

#define USAGE "usage: tinyse IN.wav OUT.wav RESULTS.json [--network FILE] [--npu REQUEST REPLY] [--exit N]"

static char *next(char **rest) {
  char *start = *rest;
  while (*start == ' ') start++;
  if (!*start) return NULL;
  char *end = start;
  while (*end && *end != ' ') end++;
  *rest = *end ? end + 1 : end;
  *end = '\0';
  return start;
}

/* A whole word of up to four digits. */
static int number(const char *word, uint32_t *value) {
  *value = 0;
  uint32_t digits = 0;
  while (word && word[digits] >= '0' && word[digits] <= '9' && digits < 4) {
    *value = 10 * *value + (uint32_t)(word[digits++] - '0');
  }
  return digits && !word[digits];
}

const char *arguments_parse(arguments *parsed, char *line) {
  *parsed = (arguments){0};
  (void)next(&line); /* the image's own name */
  parsed->input = next(&line);
  parsed->output = next(&line);
  parsed->results = next(&line);
  if (!parsed->results) return USAGE;
  for (const char *option = next(&line); option; option = next(&line)) {
    if (strcmp(option, "--network") == 0) {
      parsed->network = next(&line);
      if (!parsed->network) return USAGE;
    } else if (strcmp(option, "--npu") == 0) {
      parsed->request = next(&line);
      parsed->reply = next(&line);
      if (!parsed->reply) return USAGE;
    } else if (strcmp(option, "--exit") == 0) {
      if (!number(next(&line), &parsed->exit)) return USAGE;
    } else {
      return USAGE;
    }
  }
  return NULL;
}
