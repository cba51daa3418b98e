// How long something takes, told by the processor's time: other work of the machine does not count.
#pragma once

#include <ctime>

namespace trackbed {

inline double ProcessorSeconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

}  // namespace trackbed
