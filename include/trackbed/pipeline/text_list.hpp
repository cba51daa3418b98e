// A list of texts in the space of a single one, for fields that every task has.
//
// Most lists of a task have one short text or none, and with a million tasks a vector of strings
// for each is most of all memory. A TextList is read like a container of std::string_view, which
// are valid until it changes or goes; size() and [] walk through it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

namespace trackbed {

class TextList {
 public:
  using value_type = std::string_view;

  class Iterator {
   public:
    using iterator_category = std::input_iterator_tag;  // there are no texts to refer to
    using iterator_concept = std::forward_iterator_tag;
    using value_type = std::string_view;
    using difference_type = std::ptrdiff_t;
    using pointer = void;
    using reference = std::string_view;

    Iterator() = default;
    std::string_view operator*() const {
      const size_t length = Length();
      return {place_ + LengthBytes(length), length};
    }
    Iterator& operator++() {
      const size_t length = Length();
      place_ += LengthBytes(length) + length;
      return *this;
    }
    Iterator operator++(int) {
      const Iterator before = *this;
      ++*this;
      return before;
    }
    friend bool operator==(Iterator, Iterator) = default;

   private:
    friend class TextList;
    explicit Iterator(const char* place) : place_(place) {}
    size_t Length() const {
      const auto first = static_cast<uint8_t>(*place_);
      if (first != kLong) return first;
      uint64_t length = 0;
      std::memcpy(&length, place_ + 1, sizeof(length));
      return length;
    }
    const char* place_ = nullptr;
  };
  using iterator = Iterator;
  using const_iterator = Iterator;

  TextList() = default;
  TextList(std::initializer_list<std::string_view> texts) { Assign(texts); }
  TextList(const std::vector<std::string>& texts) { Assign(texts); }  // NOLINT(*-explicit-*)

  void push_back(std::string_view text) {
    if (text.size() < kLong) {
      bytes_ += static_cast<char>(text.size());
    } else {
      const uint64_t length = text.size();
      bytes_ += static_cast<char>(kLong);
      bytes_.append(reinterpret_cast<const char*>(&length), sizeof(length));
    }
    bytes_ += text;
  }
  void clear() { bytes_.clear(); }

  bool empty() const { return bytes_.empty(); }
  size_t size() const { return static_cast<size_t>(std::distance(begin(), end())); }
  std::string_view front() const { return *begin(); }
  std::string_view operator[](size_t place) const {
    return *std::next(begin(), static_cast<std::ptrdiff_t>(place));
  }
  Iterator begin() const { return Iterator(bytes_.data()); }
  Iterator end() const { return Iterator(bytes_.data() + bytes_.size()); }

  friend bool operator==(const TextList&, const TextList&) = default;

 private:
  static constexpr uint8_t kLong = 255;  // a length of eight bytes follows
  static constexpr size_t LengthBytes(size_t length) {
    return length < kLong ? 1 : 1 + sizeof(uint64_t);
  }
  template <typename Texts>
  void Assign(const Texts& texts) {
    size_t bytes = 0;
    for (const auto& text : texts) bytes += LengthBytes(text.size()) + text.size();
    bytes_.reserve(bytes);
    for (const auto& text : texts) push_back(text);
  }

  std::string bytes_;  // of each text its length, and then itself
};

}  // namespace trackbed
