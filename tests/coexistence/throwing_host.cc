// A host in C++, with a C++ run time that need not be ours: exceptions that leave its callbacks are
// reported as failures, its own go through undisturbed, and what it counts of them stays right.
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>

#include "trackbed.h"

namespace {

trackbed_status Throw(void* /*user*/, trackbed_answer* /*node*/, trackbed_error** /*error*/) {
  throw std::runtime_error("the host has no room");
}
trackbed_status ThrowOther(void* /*user*/, trackbed_answer* /*node*/, trackbed_error** /*error*/) {
  throw 7;  // NOLINT(hicpp-exception-baseclass)
}
// Throws and catches on its own, below frames of the library.
trackbed_status CatchItself(void* /*user*/, trackbed_answer* /*node*/, trackbed_error** error) {
  try {
    throw std::logic_error("inside");
  } catch (const std::logic_error& caught) {
    *error = trackbed_error_create(TRACKBED_NOT_FOUND, caught.what(), TRACKBED_TERMINATED);
    return TRACKBED_NOT_FOUND;
  }
}

int failures = 0;

void Expect(trackbed_status (*probe)(void*, trackbed_answer*, trackbed_error**),
            trackbed_status expected, const std::string& said) {
  trackbed_device_probe table;
  TRACKBED_INIT(&table);
  table.probe = probe;
  trackbed_engine_options options;
  TRACKBED_INIT(&options);
  options.in_memory = 1;
  options.home = trackbed_text(".");
  options.device_probe = &table;
  trackbed_engine* engine = nullptr;
  trackbed_error* error = nullptr;
  const trackbed_status found = trackbed_engine_open(&options, &engine, &error);
  const trackbed_string message = trackbed_error_message(error);
  const std::string text(message.data, message.size);
  if (found != expected || text.find(said) == std::string::npos ||
      std::uncaught_exceptions() != 0) {
    std::fprintf(stderr, "found %d: %s; %d exceptions are on their way\n", found, text.c_str(),
                 std::uncaught_exceptions());
    ++failures;
  }
  trackbed_error_free(error);
}

}  // namespace

int main() {
  for (int i = 0; i < 3; ++i) {
    Expect(Throw, TRACKBED_INTERNAL, "the host has no room");
    Expect(ThrowOther, TRACKBED_INTERNAL, "threw");
    Expect(CatchItself, TRACKBED_NOT_FOUND, "inside");
  }
  try {
    throw std::runtime_error("afterwards");
  } catch (const std::exception& caught) {
    if (std::string(caught.what()) != "afterwards") ++failures;
  }
  std::printf("%d failures\n", failures);
  return failures == 0 ? 0 : 1;
}
