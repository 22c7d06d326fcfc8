#include "arguments.h"

#include <stddef.h>
#include <string.h>

#define USAGE "usage: tinyse IN.wav OUT.wav RESULTS.json [--network FILE] [--npu REQUEST REPLY]"

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
    } else {
      return USAGE;
    }
  }
  return NULL;
}
