// Turns any text into a valid, unique name.
#include "pipeline/fasttrack_names.hpp"

#include <algorithm>
#include <string_view>

#include "pipeline/names.hpp"

namespace trackbed::fasttrack {
namespace {

bool IsLetterOrDigit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}
bool IsNameByte(char c) { return IsLetterOrDigit(c) || c == '.' || c == '_' || c == '-'; }

bool IsValidName(std::string_view name) { return ExpectedOfName(name).empty(); }

// `name` with each run of bytes that a name may not have turned into one "-", and cut to leave room
// for a number; "" if nothing stays.
std::string MakeValidName(std::string_view name) {
  std::string result;
  for (const char c : name) {
    if (IsNameByte(c)) {
      result += c;
    } else if (!result.empty() && result.back() != '-') {
      result += '-';
    }
  }
  const auto begin = std::find_if(result.begin(), result.end(), IsLetterOrDigit);
  result.erase(result.begin(), begin);
  constexpr size_t kRoomForNumber = 16;
  result.resize(std::min(result.size(), kMaxNameLength - kRoomForNumber));
  while (!result.empty() && result.back() == '-') result.pop_back();
  return result;
}

}  // namespace

NameTable::NameTable(const std::vector<std::string>& originals, const std::string& fallback) {
  for (const std::string& name : originals) {
    if (IsValidName(name)) Assign(name, name);
  }
  for (const std::string& name : originals) {
    if (IsValidName(name) || names_.contains(name)) continue;
    std::string base = MakeValidName(name);
    if (base.empty()) base = fallback;
    std::string unique = base;
    size_t& number = last_number_[base];
    while (taken_.contains(unique)) unique = base + "-" + std::to_string(++number + 1);
    Assign(name, unique);
  }
}

const std::string* NameTable::Find(const std::string& original) const {
  const auto found = names_.find(original);
  return found == names_.end() ? nullptr : &found->second;
}

void NameTable::Assign(const std::string& original, const std::string& name) {
  names_.emplace(original, name);
  taken_.insert(name);
}

}  // namespace trackbed::fasttrack
