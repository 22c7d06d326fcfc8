#include "json.h"

static void put(json *out, char character) {
  if (out->used + 1 < out->size) {
    out->text[out->used++] = character;
    out->text[out->used] = '\0';
  } else {
    out->full = true;
  }
}

static void raw(json *out, const char *text) {
  while (*text) {
    put(out, *text++);
  }
}

static void quoted(json *out, const char *text) {
  put(out, '"');
  raw(out, text);
  put(out, '"');
}

static void item(json *out, const char *name) {
  if (out->comma) put(out, ',');
  out->comma = true;
  if (name) {
    quoted(out, name);
    put(out, ':');
  }
}

void json_start(json *out, char *text, size_t size) {
  *out = (json){.text = text, .size = size};
  text[0] = '\0';
}

void json_open(json *out, const char *name, char bracket) {
  item(out, name);
  put(out, bracket);
  out->comma = false;
}

void json_close(json *out, char bracket) {
  put(out, bracket);
  out->comma = true;
}

void json_number(json *out, const char *name, uint64_t value) {
  char digits[20];
  int count = 0;
  do {
    digits[count++] = (char)('0' + value % 10u);
    value /= 10u;
  } while (value);
  item(out, name);
  while (count) {
    put(out, digits[--count]);
  }
}

void json_text(json *out, const char *name, const char *value) {
  item(out, name);
  quoted(out, value);
}

void json_null(json *out, const char *name) {
  item(out, name);
  raw(out, "null");
}
