/* json.h: JSON into a fixed buffer. Names and texts are the caller's constants: nothing is escaped. */
#ifndef TINYSE_JSON_H
#define TINYSE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct json {
  char *text; /* always terminated */
  size_t size, used;
  bool full;  /* something did not fit */
  bool comma; /* the next item needs one */
} json;

void json_start(json *out, char *text, size_t size);

/* `name` is NULL inside a list and for the outermost value. */
void json_open(json *out, const char *name, char bracket);
void json_close(json *out, char bracket);
void json_number(json *out, const char *name, uint64_t value);
void json_text(json *out, const char *name, const char *value);
void json_null(json *out, const char *name);

#endif /* TINYSE_JSON_H */
