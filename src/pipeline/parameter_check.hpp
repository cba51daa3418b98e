// Whether a value is one that a parameter may have.
#pragma once

#include <string>

#include "trackbed/pipeline/pipeline.hpp"

namespace trackbed {

// What keeps `value`, which has the parameter's type, from being one of its values: "found 3,
// expected at most 1"; "" when nothing does.
std::string ParameterObjection(const Parameter& parameter, const Value& value);

}  // namespace trackbed
