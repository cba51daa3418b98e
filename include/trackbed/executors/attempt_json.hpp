// What an executor is asked to run, as JSON, for executors that are written in other languages.
#pragma once

#include <string>

#include "trackbed/executors/executor.hpp"

namespace trackbed {

// Every field of `spec`. Variables whose values are secret stand under "secret_names" only.
std::string AttemptToJson(const AttemptSpec& spec);

}  // namespace trackbed
