#include "common.hpp"

#include <absl/strings/str_cat.h>

#include <cstdlib>

#define TRACKBED_TEXT_INNER_(x) #x
#define TRACKBED_TEXT_(x) TRACKBED_TEXT_INNER_(x)

namespace trackbed::capi {
namespace {

constexpr int kStatusCount = 16;

StatusCode CodeOf(trackbed_status status) {
  return status > 0 && status < kStatusCount ? static_cast<StatusCode>(status)
                                             : StatusCode::kUnknown;
}

}  // namespace

trackbed_status Report(trackbed_error** error, const Outcome& outcome) noexcept {
  const StatusCode code = outcome.status().code();
  // Abseil has one code more than we do.
  const auto status = static_cast<trackbed_status>(code);
  const trackbed_status known = status < kStatusCount ? status : TRACKBED_PERMISSION_DENIED;
  if (error == nullptr) return known;
  try {
    auto made = std::make_unique<trackbed_error>();
    made->code = static_cast<StatusCode>(known);
    made->message = std::string(Message(outcome.status()));
    if (outcome.diagnostics() != nullptr) made->diagnostics = *outcome.diagnostics();
    *error = made.release();
  } catch (...) {
    *error = nullptr;  // no memory for the details; the code says enough
  }
  return known;
}

trackbed_status Report(trackbed_error** error, StatusCode code, const char* message) noexcept {
  if (error != nullptr) {
    *error =
        trackbed_error_create(static_cast<trackbed_status>(code), message, TRACKBED_TERMINATED);
  }
  return static_cast<trackbed_status>(code);
}

Status TakeCallbackResult(trackbed_status status, trackbed_error* error, std::string_view what) {
  const std::unique_ptr<trackbed_error> owned(error);
  if (status == TRACKBED_OK) return absl::OkStatus();
  if (owned != nullptr && !owned->message.empty()) return {CodeOf(status), owned->message};
  return {CodeOf(status), absl::StrCat(AbslView(what), " failed: ", trackbed_status_name(status))};
}

Status MissingArgument(std::string_view name) {
  return InvalidArgument(absl::StrCat(AbslView(name), ": found NULL, expected a value"));
}

StatusOr<Enforcement> ReadEnforcement(int32_t given, std::string_view name) {
  if (given < TRACKBED_ENFORCEMENT_ACCOUNTING || given > TRACKBED_ENFORCEMENT_HARDWARE) {
    return InvalidArgument(absl::StrCat(AbslView(name), ": found an unknown enforcement"));
  }
  return static_cast<Enforcement>(given);
}

Status BadStructSize(std::string_view name, size_t size) {
  return InvalidArgument(absl::StrCat(AbslView(name), ": found the struct_size ", size,
                                      ", expected that of the struct (TRACKBED_INIT)"));
}

Status UnknownFields(std::string_view name, size_t size, size_t known) {
  return InvalidArgument(absl::StrCat(AbslView(name), ": found a struct of ", size,
                                      " bytes that uses fields beyond the ", known,
                                      " that this library knows; it is older than its caller"));
}

Status GiveBytes(std::string_view text, trackbed_bytes* bytes) {
  if (bytes == nullptr) return MissingArgument("an out parameter");
  auto* data = static_cast<char*>(std::malloc(text.size() + 1));
  if (data == nullptr) return ResourceExhausted("out of memory");
  if (!text.empty()) std::memcpy(data, text.data(), text.size());
  data[text.size()] = '\0';
  *bytes = {data, text.size()};
  return absl::OkStatus();
}

trackbed_status FillDiagnostic(const Diagnostics& diagnostics, size_t index,
                               trackbed_diagnostic* out) noexcept {
  return Guard(nullptr, [&]() -> Status {
    TRACKBED_RETURN_IF_ERROR(CheckOut(out, "out"));
    if (index >= diagnostics.items().size()) return NotFound("there are not so many");
    const Diagnostic& item = diagnostics.items()[index];
    const MessageParts parts = SplitMessage(item.message);
    trackbed_diagnostic filled{};
    filled.severity = item.severity == Diagnostic::Severity::error ? TRACKBED_SEVERITY_ERROR
                                                                   : TRACKBED_SEVERITY_WARNING;
    filled.file = Borrow(diagnostics.file());
    filled.line = item.position.line;
    filled.column = item.position.column;
    filled.path = Borrow(item.path);
    filled.message = Borrow(item.message);
    filled.found = Borrow(parts.found);
    filled.expected = Borrow(parts.expected);
    CopyOut(filled, out->struct_size, out);
    return absl::OkStatus();
  });
}

}  // namespace trackbed::capi

using namespace trackbed;        // NOLINT(google-build-using-namespace)
using namespace trackbed::capi;  // NOLINT(google-build-using-namespace)

const char* trackbed_version() noexcept {
  return TRACKBED_TEXT_(TRACKBED_VERSION_MAJOR) "." TRACKBED_TEXT_(
      TRACKBED_VERSION_MINOR) "." TRACKBED_TEXT_(TRACKBED_VERSION_PATCH);
}

uint32_t trackbed_abi_version() noexcept { return TRACKBED_ABI_VERSION; }

const char* trackbed_status_name(trackbed_status status) noexcept {
  static constexpr const char* kNames[] = {"OK",
                                           "CANCELLED",
                                           "UNKNOWN",
                                           "INVALID_ARGUMENT",
                                           "DEADLINE_EXCEEDED",
                                           "NOT_FOUND",
                                           "ALREADY_EXISTS",
                                           "PERMISSION_DENIED",
                                           "RESOURCE_EXHAUSTED",
                                           "FAILED_PRECONDITION",
                                           "ABORTED",
                                           "OUT_OF_RANGE",
                                           "UNIMPLEMENTED",
                                           "INTERNAL",
                                           "UNAVAILABLE",
                                           "DATA_LOSS"};
  return status >= 0 && status < kStatusCount ? kNames[status] : kNames[TRACKBED_UNKNOWN];
}

void trackbed_bytes_free(trackbed_bytes* bytes) noexcept {
  if (bytes == nullptr) return;
  std::free(bytes->data);
  *bytes = {nullptr, 0};
}

trackbed_error* trackbed_error_create(trackbed_status code, const char* message,
                                      size_t message_size) noexcept {
  return GuardValue<trackbed_error*>(nullptr, [&] {
    std::string_view text;
    (void)ReadText(message, message_size, "message", &text);
    auto made = std::make_unique<trackbed_error>();
    made->code = CodeOf(code);
    made->message = std::string(text);
    return made.release();
  });
}

trackbed_status trackbed_error_code(const trackbed_error* error) noexcept {
  return error == nullptr ? TRACKBED_OK : static_cast<trackbed_status>(error->code);
}

trackbed_string trackbed_error_message(const trackbed_error* error) noexcept {
  return error == nullptr ? trackbed_string{"", 0} : Borrow(error->message);
}

size_t trackbed_error_diagnostic_count(const trackbed_error* error) noexcept {
  return error == nullptr ? 0 : error->diagnostics.items().size();
}

trackbed_status trackbed_error_diagnostic(const trackbed_error* error, size_t index,
                                          trackbed_diagnostic* out) noexcept {
  if (error == nullptr) return TRACKBED_INVALID_ARGUMENT;
  return FillDiagnostic(error->diagnostics, index, out);
}

void trackbed_error_free(trackbed_error* error) noexcept { delete error; }

trackbed_status trackbed_answer_set(trackbed_answer* answer, const char* data,
                                    size_t size) noexcept {
  return Guard(nullptr, [&]() -> Status {
    TRACKBED_NEED(answer);
    return ReadText(data, size, "data", &answer->text);
  });
}
