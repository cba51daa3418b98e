// Fields that most tasks leave empty, or have in common, in the space of one pointer each.
//
// A task has many fields and uses few; with a million tasks what the others take is most of all
// memory. A CopyOnWrite<T> is a T or nothing. Copies share it until one of them is changed, so that
// a million tasks that differ in their names cost their names; they may be read and copied by
// several threads. Sparse<std::vector<T>>, Sparse<std::string> and the like are read as the
// container they hold. To change one in ways other than below, use Mutable().
#pragma once

#include <atomic>
#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace trackbed {

template <typename T>
class CopyOnWrite {
 public:
  CopyOnWrite() = default;
  CopyOnWrite(T value) : shared_(new Shared{std::move(value)}) {}  // NOLINT(*-explicit-*)
  CopyOnWrite(const CopyOnWrite& other) : shared_(other.shared_) {
    if (shared_ != nullptr) shared_->owners.fetch_add(1, std::memory_order_relaxed);
  }
  CopyOnWrite(CopyOnWrite&& other) noexcept : shared_(std::exchange(other.shared_, nullptr)) {}
  CopyOnWrite& operator=(CopyOnWrite other) noexcept {
    std::swap(shared_, other.shared_);
    return *this;
  }
  ~CopyOnWrite() {
    if (shared_ == nullptr) return;
    if (shared_->owners.fetch_sub(1, std::memory_order_acq_rel) == 1) delete shared_;
  }

  explicit operator bool() const { return shared_ != nullptr; }
  const T* get() const { return shared_ == nullptr ? nullptr : &shared_->value; }
  const T* operator->() const { return get(); }
  const T& operator*() const { return shared_->value; }
  // Makes one where there is none, and a copy where others have it too.
  T& Mutable() {
    if (shared_ == nullptr) {
      *this = CopyOnWrite(T());
    } else if (shared_->owners.load(std::memory_order_acquire) > 1) {
      *this = CopyOnWrite(shared_->value);
    }
    return shared_->value;
  }

  friend bool operator==(const CopyOnWrite& a, const CopyOnWrite& b) {
    if (a.shared_ == b.shared_) return true;
    return a.shared_ != nullptr && b.shared_ != nullptr && *a == *b;
  }

 private:
  struct Shared {
    T value;
    std::atomic<uint32_t> owners = 1;
  };
  Shared* shared_ = nullptr;
};

template <typename T>
class Sparse {
 public:
  using value_type = typename T::value_type;
  using iterator = typename T::iterator;
  using const_iterator = typename T::const_iterator;

  Sparse() = default;
  Sparse(T value) { Set(std::move(value)); }                               // NOLINT(*-explicit-*)
  Sparse(std::initializer_list<value_type> values) : Sparse(T(values)) {}  // NOLINT(*-explicit-*)
  template <typename U>
    requires(std::convertible_to<U, T> && !std::same_as<std::remove_cvref_t<U>, T> &&
             !std::same_as<std::remove_cvref_t<U>, Sparse>)
  Sparse(U&& value) : Sparse(T(std::forward<U>(value))) {}  // NOLINT(*-explicit-*)

  const T& get() const {
    static const T empty;
    return value_ ? *value_ : empty;
  }
  operator const T&() const { return get(); }  // NOLINT(*-explicit-*)
  operator std::string_view() const            // NOLINT(*-explicit-*)
    requires std::same_as<T, std::string>
  {
    return get();
  }
  T& Mutable() { return value_.Mutable(); }

  bool empty() const { return !value_ || value_->empty(); }
  size_t size() const { return value_ ? value_->size() : 0; }
  const_iterator begin() const { return value_ ? value_->cbegin() : const_iterator(); }
  const_iterator end() const { return value_ ? value_->cend() : const_iterator(); }
  iterator begin() { return value_ ? Mutable().begin() : iterator(); }
  iterator end() { return value_ ? Mutable().end() : iterator(); }
  decltype(auto) operator[](size_t place) const { return (*value_)[place]; }
  decltype(auto) operator[](size_t place) { return Mutable()[place]; }
  decltype(auto) front() const { return value_->front(); }
  decltype(auto) back() const { return value_->back(); }

  void clear() { value_ = {}; }
  void push_back(value_type value) { Mutable().push_back(std::move(value)); }
  template <typename... Arguments>
  decltype(auto) emplace_back(Arguments&&... arguments) {
    return Mutable().emplace_back(std::forward<Arguments>(arguments)...);
  }

  friend bool operator==(const Sparse& a, const Sparse& b) {
    return a.value_.get() == b.value_.get() || a.get() == b.get();
  }
  template <typename U>
    requires(std::convertible_to<U, T> && !std::same_as<U, Sparse>)
  friend bool operator==(const Sparse& a, const U& b) {
    return a.get() == b;
  }

 private:
  void Set(T value) {
    if (!value.empty()) value_ = std::move(value);
  }
  CopyOnWrite<T> value_;
};

}  // namespace trackbed
