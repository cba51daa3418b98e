// What a scalar that stands without quotes is: one rule for the readers and the writers.
#pragma once

#include <string_view>

#include "trackbed/pipeline/value.hpp"

namespace trackbed {

// Integers and numbers are those of JSON; "007", "+1", ".5" and "yes" are text.
ValueType TypeOfPlain(std::string_view text);

}  // namespace trackbed
