// A container that is nearly always empty, in the space of one pointer.
//
// A task has many fields and uses few; with a million tasks what the others take is most of all
// memory. Sparse<std::vector<T>>, Sparse<std::string> and the like are read as what they hold. To
// change one in ways other than below, use Mutable().
#pragma once

#include <concepts>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace trackbed {

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
  Sparse(const Sparse& other) {
    if (!other.empty()) value_ = std::make_unique<T>(*other.value_);
  }
  Sparse(Sparse&& other) noexcept = default;
  Sparse& operator=(const Sparse& other) { return *this = Sparse(other); }
  Sparse& operator=(Sparse&& other) noexcept = default;
  ~Sparse() = default;

  const T& get() const {
    static const T empty;
    return value_ == nullptr ? empty : *value_;
  }
  operator const T&() const { return get(); }  // NOLINT(*-explicit-*)
  operator std::string_view() const            // NOLINT(*-explicit-*)
    requires std::same_as<T, std::string>
  {
    return get();
  }
  T& Mutable() {
    if (value_ == nullptr) value_ = std::make_unique<T>();
    return *value_;
  }

  bool empty() const { return value_ == nullptr || value_->empty(); }
  size_t size() const { return value_ == nullptr ? 0 : value_->size(); }
  const_iterator begin() const { return value_ == nullptr ? const_iterator() : value_->cbegin(); }
  const_iterator end() const { return value_ == nullptr ? const_iterator() : value_->cend(); }
  iterator begin() { return value_ == nullptr ? iterator() : value_->begin(); }
  iterator end() { return value_ == nullptr ? iterator() : value_->end(); }
  decltype(auto) operator[](size_t place) const { return (*value_)[place]; }
  decltype(auto) operator[](size_t place) { return (*value_)[place]; }
  decltype(auto) front() const { return value_->front(); }
  decltype(auto) back() const { return value_->back(); }

  void clear() { value_.reset(); }
  void push_back(value_type value) { Mutable().push_back(std::move(value)); }
  template <typename... Arguments>
  decltype(auto) emplace_back(Arguments&&... arguments) {
    return Mutable().emplace_back(std::forward<Arguments>(arguments)...);
  }

  friend bool operator==(const Sparse& a, const Sparse& b) { return a.get() == b.get(); }
  template <typename U>
    requires(std::convertible_to<U, T> && !std::same_as<U, Sparse>)
  friend bool operator==(const Sparse& a, const U& b) {
    return a.get() == b;
  }

 private:
  void Set(T value) {
    if (!value.empty()) value_ = std::make_unique<T>(std::move(value));
  }
  std::unique_ptr<T> value_;
};

}  // namespace trackbed
