// What every function of the C interface is made of: the guard that lets no exception out, errors,
// text that comes in, bytes that go out, and structs of other versions.
#pragma once

#include <algorithm>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "trackbed.h"
#include "trackbed/base/diagnostic.hpp"
#include "trackbed/base/slot_type.hpp"
#include "trackbed/base/status.hpp"

struct trackbed_error {
  trackbed::StatusCode code = trackbed::StatusCode::kUnknown;
  std::string message;
  trackbed::Diagnostics diagnostics;
};

struct trackbed_answer {
  std::string text;
};

namespace trackbed::capi {

// The end of a call: a status, and the mistakes in a document when it is about one.
class Outcome {
 public:
  Outcome(Status status) : status_(std::move(status)) {}  // NOLINT(google-explicit-constructor)
  explicit Outcome(const Diagnostics& diagnostics)
      : status_(diagnostics.ToStatus()), diagnostics_(std::make_unique<Diagnostics>(diagnostics)) {}
  bool ok() const { return status_.ok(); }
  const Status& status() const { return status_; }
  const Diagnostics* diagnostics() const { return diagnostics_.get(); }

 private:
  Status status_;
  std::unique_ptr<Diagnostics> diagnostics_;
};

// Sets *error, when there is one and there is memory, and gives the code to return.
trackbed_status Report(trackbed_error** error, const Outcome& outcome) noexcept;
trackbed_status Report(trackbed_error** error, StatusCode code, const char* message) noexcept;

// Every function that can fail is this around its body, which returns Status or Outcome.
template <typename Body>
trackbed_status Guard(trackbed_error** error, Body&& body) noexcept {
  try {
    if (const auto outcome = std::forward<Body>(body)(); !outcome.ok()) [[unlikely]] {
      return Report(error, outcome);
    }
    return TRACKBED_OK;
  } catch (const std::bad_alloc&) {
    return Report(error, StatusCode::kResourceExhausted, "out of memory");
  } catch (const std::exception& exception) {
    return Report(error, StatusCode::kInternal, exception.what());
  } catch (...) {
    return Report(error, StatusCode::kInternal, "an unknown exception");
  }
}

// The same for functions that return a value: `otherwise` when anything is thrown.
template <typename Value, typename Body>
Value GuardValue(Value otherwise, Body&& body) noexcept {
  try {
    return std::forward<Body>(body)();
  } catch (...) {
    return otherwise;
  }
}

// Calls a callback that has nothing to return; false when something escapes it.
template <typename Call>
bool Returns(Call&& call) noexcept {
  try {
    std::forward<Call>(call)();
    return true;
  } catch (...) {
    return false;
  }
}

// What a callback returned, with the error that it may have made, which is freed.
Status TakeCallbackResult(trackbed_status status, trackbed_error* error, std::string_view what);

// A callback, from which nothing escapes.
template <typename Call>
Status CallBack(std::string_view what, Call&& call) {
  trackbed_error* error = nullptr;
  trackbed_status status = TRACKBED_OK;
  try {
    status = std::forward<Call>(call)(&error);
  } catch (const std::exception& exception) {
    trackbed_error_free(error);
    return Internal(std::string(what) + " threw: " + exception.what());
  } catch (...) {
    trackbed_error_free(error);
    return Internal(std::string(what) + " threw");
  }
  return TakeCallbackResult(status, error, what);
}

Status MissingArgument(std::string_view name);

// Text of the caller's; nothing is null but empty text.
inline Status ReadText(const char* data, size_t size, std::string_view name,
                       std::string_view* text) {
  if (data == nullptr) {
    if (size != 0 && size != TRACKBED_TERMINATED) return MissingArgument(name);
    *text = {};
    return absl::OkStatus();
  }
  *text = {data, size == TRACKBED_TERMINATED ? std::strlen(data) : size};
  return absl::OkStatus();
}
inline Status ReadText(const trackbed_string& given, std::string_view name,
                       std::string_view* text) {
  return ReadText(given.data, given.size, name, text);
}
// The same, where it is kept or handed on as a string.
inline Status ReadText(const char* data, size_t size, std::string_view name, std::string* text) {
  std::string_view view;
  TRACKBED_RETURN_IF_ERROR(ReadText(data, size, name, &view));
  text->assign(view);
  return absl::OkStatus();
}
inline Status ReadText(const trackbed_string& given, std::string_view name, std::string* text) {
  return ReadText(given.data, given.size, name, text);
}

inline Status ReadTexts(const trackbed_string* texts, size_t count, std::string_view name,
                        std::vector<std::string>* read) {
  if (texts == nullptr && count != 0) return MissingArgument(name);
  for (size_t i = 0; i < count; ++i) {
    TRACKBED_RETURN_IF_ERROR(ReadText(texts[i], name, &read->emplace_back()));
  }
  return absl::OkStatus();
}

// A TRACKBED_ENFORCEMENT_….
StatusOr<Enforcement> ReadEnforcement(int32_t given, std::string_view name);

inline trackbed_string Borrow(std::string_view text) { return {text.data(), text.size()}; }

// Gives a text to the caller; `bytes` must be there.
Status GiveBytes(std::string_view text, trackbed_bytes* bytes);
// The same where the caller may not want it.
inline Status GiveBytesIfWanted(std::string_view text, trackbed_bytes* bytes) {
  return bytes == nullptr ? absl::OkStatus() : GiveBytes(text, bytes);
}

// Whether a caller can have a struct of this size: no version ends within a field.
template <typename Struct>
constexpr bool IsStructSize(size_t size) {
  return size >= 2 * sizeof(uint32_t) && size % alignof(Struct) == 0;
}
Status BadStructSize(std::string_view name, size_t size);
Status UnknownFields(std::string_view name, size_t size, size_t known);

// Copies a struct of the caller's, perhaps of another version, to one of ours.
template <typename Struct>
Status ReadStruct(const Struct* given, std::string_view name, Struct* read) {
  static_assert(std::is_trivially_copyable_v<Struct>);
  if (given == nullptr) return MissingArgument(name);
  const size_t size = given->struct_size;
  if (!IsStructSize<Struct>(size)) return BadStructSize(name, size);
  std::memset(static_cast<void*>(read), 0, sizeof(Struct));
  std::memcpy(static_cast<void*>(read), given, std::min(size, sizeof(Struct)));
  if (size > sizeof(Struct)) {
    const auto* bytes = reinterpret_cast<const unsigned char*>(given);
    if (std::any_of(bytes + sizeof(Struct), bytes + size, [](unsigned char b) { return b != 0; })) {
      return UnknownFields(name, size, sizeof(Struct));
    }
  }
  return absl::OkStatus();
}
// Defaults when none is given.
template <typename Struct>
Status ReadOptions(const Struct* given, std::string_view name, Struct* read) {
  if (given != nullptr) return ReadStruct(given, name, read);
  std::memset(static_cast<void*>(read), 0, sizeof(Struct));
  return absl::OkStatus();
}

// Copies a struct of ours to the `size` bytes of the caller's.
template <typename Struct>
inline void CopyOut(Struct value, size_t size, void* out) {
  static_assert(std::is_trivially_copyable_v<Struct>);
  value.struct_size = static_cast<uint32_t>(size);
  if (size == sizeof(Struct)) [[likely]] {
    std::memcpy(out, &value, sizeof(Struct));
    return;
  }
  std::memcpy(out, &value, std::min(size, sizeof(Struct)));
  if (size > sizeof(Struct)) {
    std::memset(static_cast<char*>(out) + sizeof(Struct), 0, size - sizeof(Struct));
  }
}
// Whether a struct to be filled is there and has a size.
template <typename Struct>
Status CheckOut(const Struct* out, std::string_view name) {
  if (out == nullptr) return MissingArgument(name);
  if (!IsStructSize<Struct>(out->struct_size)) return BadStructSize(name, out->struct_size);
  return absl::OkStatus();
}
template <typename Item>
Status CheckItems(const Item* items, size_t item_size, size_t capacity, std::string_view name) {
  if (items == nullptr && capacity != 0) return MissingArgument(name);
  if (capacity != 0 && !IsStructSize<Item>(item_size)) return BadStructSize(name, item_size);
  return absl::OkStatus();
}
// Item `index` of an array with items of `size` bytes.
template <typename Item>
Item* At(Item* items, size_t size, size_t index) {
  using Byte = std::conditional_t<std::is_const_v<Item>, const char, char>;
  return reinterpret_cast<Item*>(reinterpret_cast<Byte*>(items) + size * index);
}

// The same as ReadStruct of item `index` of an array, in whose bounds it must be.
template <typename Item>
Status ReadItem(const Item* items, size_t item_size, size_t index, std::string_view name,
                Item* read) {
  const Item* item = At(items, item_size, index);
  if (item->struct_size > item_size) return BadStructSize(name, item->struct_size);
  return ReadStruct(item, name, read);
}

trackbed_status FillDiagnostic(const Diagnostics& diagnostics, size_t index,
                               trackbed_diagnostic* out) noexcept;

}  // namespace trackbed::capi

// Leaves with TRACKBED_INVALID_ARGUMENT when a pointer that is needed is null.
#define TRACKBED_NEED(argument) \
  if ((argument) == nullptr) return ::trackbed::capi::MissingArgument(#argument)
