// The live allocations of a SlotAllocator as JSON, to be kept and restored by whoever embeds it.
#pragma once

#include <string>
#include <string_view>

#include "trackbed/base/status.hpp"
#include "trackbed/resources/slot_allocator.hpp"

namespace trackbed {

// {"allocations":[{"id":65536,"parts":[{"slot":"cuda.shares","device":"gpu0","amount":"0.5"}]}]}
std::string WriteAllocations(const SlotAllocator& allocator);

// Takes up what WriteAllocations wrote of an allocator of the same node: all of it, or nothing.
// kInvalidArgument.
Status RestoreAllocations(std::string_view json, SlotAllocator* allocator);

}  // namespace trackbed
