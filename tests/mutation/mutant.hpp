// What mutated code calls (mutate.py): each call has the number of a mutant, and does what the code
// did unless that mutant is the active one.
#pragma once

#include <utility>

namespace mutant {

extern int active;
extern bool is_noting;
void Note(int number);

inline bool Is(int number) {
  if (is_noting) Note(number);
  return active == number;
}

template <typename T>
T Next(int number, T value) {
  return static_cast<T>(Is(number) ? value + 1 : value);
}

// TRACKBED_MUTANT_BINARY(NAME, OPERATOR, OTHER)
#define TRACKBED_MUTANT_BINARY(name, op, other)                           \
  template <typename L, typename R>                                       \
  decltype(auto) name(int number, L&& l, R&& r) {                         \
    using Result = decltype(std::forward<L>(l) op std::forward<R>(r));    \
    if (Is(number)) return static_cast<Result>(l other r);                \
    return static_cast<Result>(std::forward<L>(l) op std::forward<R>(r)); \
  }

TRACKBED_MUTANT_BINARY(Less, <, <=)
TRACKBED_MUTANT_BINARY(LessEqual, <=, <)
TRACKBED_MUTANT_BINARY(Greater, >, >=)
TRACKBED_MUTANT_BINARY(GreaterEqual, >=, >)
TRACKBED_MUTANT_BINARY(Equal, ==, !=)
TRACKBED_MUTANT_BINARY(NotEqual, !=, ==)
TRACKBED_MUTANT_BINARY(Plus, +, -)
TRACKBED_MUTANT_BINARY(Minus, -, +)
TRACKBED_MUTANT_BINARY(Times, *, /)
TRACKBED_MUTANT_BINARY(Divide, /, *)
TRACKBED_MUTANT_BINARY(Remainder, %, *)
TRACKBED_MUTANT_BINARY(And, &, |)
TRACKBED_MUTANT_BINARY(Or, |, &)
TRACKBED_MUTANT_BINARY(AddTo, +=, -=)
TRACKBED_MUTANT_BINARY(TakeFrom, -=, +=)
TRACKBED_MUTANT_BINARY(MultiplyBy, *=, /=)
TRACKBED_MUTANT_BINARY(OrTo, |=, &=)

#undef TRACKBED_MUTANT_BINARY

}  // namespace mutant
