/* What the tests of the C interface are written with. */
#ifndef TRACKBED_TESTS_CHECK_H
#define TRACKBED_TESTS_CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "trackbed.h"

static int checks = 0;
static int failures = 0;

#define CHECK(condition)                                                        \
  do {                                                                          \
    ++checks;                                                                   \
    if (!(condition)) {                                                         \
      ++failures;                                                               \
      fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
    }                                                                           \
  } while (0)

/* Expects a status; `error` is printed when it is another, and freed. */
static void expect(int line, trackbed_status found, trackbed_status expected,
                   trackbed_error** error) {
  ++checks;
  if (found != expected) {
    trackbed_string message = trackbed_error_message(*error);
    ++failures;
    fprintf(stderr, "line %d: found %s, expected %s: %.*s\n", line, trackbed_status_name(found),
            trackbed_status_name(expected), (int)message.size, message.data);
  } else if (expected != TRACKBED_OK) {
    ++checks;
    if (trackbed_error_code(*error) != expected || trackbed_error_message(*error).size == 0) {
      ++failures;
      fprintf(stderr, "line %d: an error without code or message\n", line);
    }
  }
  trackbed_error_free(*error);
  *error = NULL;
}
#define EXPECT(expected, call) expect(__LINE__, (call), (expected), &error)
#define OK(call) EXPECT(TRACKBED_OK, call)
#define REFUSED(call) EXPECT(TRACKBED_INVALID_ARGUMENT, call)

static inline int holds(const trackbed_bytes* bytes, const char* text) {
  return bytes->data != NULL && strstr(bytes->data, text) != NULL;
}

static inline int conclude(void) {
  printf("%d checks, %d failures\n", checks, failures);
  return failures == 0 ? 0 : 1;
}

#endif
