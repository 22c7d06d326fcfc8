/* Files by stdio; no clock. */
#include <stdio.h>
#include <stdlib.h>

#include "driver.h"

void load(void) {
  FILE *file = fopen("in.bin", "rb");
  if (!file || fread(&job, 1, sizeof job, file) != sizeof job) exit(1);
  fclose(file);
}

void store(void) {
  FILE *file = fopen("out.bin", "wb");
  if (!file || fwrite(&result, 1, sizeof result, file) != sizeof result) exit(1);
  fclose(file);
}

uint32_t tick(void) { return 0; }
