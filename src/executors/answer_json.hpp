// Reads JSON that others made: what is missing, or not of the kind that is asked for, is as good as
// empty.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace trackbed {

// A discarded value where `text` is no JSON.
inline nlohmann::json ParseAnswer(std::string_view text) {
  return nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
}

// Null where `json` is no object, or has no such member.
inline const nlohmann::json* FindMember(const nlohmann::json& json, const std::string& name) {
  if (!json.is_object()) return nullptr;
  const auto found = json.find(name);
  return found == json.end() ? nullptr : &*found;
}

// An object without members where there is no object.
inline const nlohmann::json& ObjectMember(const nlohmann::json& json, const std::string& name) {
  static const nlohmann::json empty = nlohmann::json::object();
  const nlohmann::json* found = FindMember(json, name);
  return found != nullptr && found->is_object() ? *found : empty;
}

// A list without elements where there is no list.
inline const nlohmann::json& ListMember(const nlohmann::json& json, const std::string& name) {
  static const nlohmann::json empty = nlohmann::json::array();
  const nlohmann::json* found = FindMember(json, name);
  return found != nullptr && found->is_array() ? *found : empty;
}

inline std::string TextMember(const nlohmann::json& json, const std::string& name) {
  const nlohmann::json* found = FindMember(json, name);
  return found != nullptr && found->is_string() ? found->get<std::string>() : "";
}

inline int64_t NumberMember(const nlohmann::json& json, const std::string& name) {
  const nlohmann::json* found = FindMember(json, name);
  return found != nullptr && found->is_number_integer() ? found->get<int64_t>() : 0;
}

inline bool FlagMember(const nlohmann::json& json, const std::string& name) {
  const nlohmann::json* found = FindMember(json, name);
  return found != nullptr && found->is_boolean() && found->get<bool>();
}

}  // namespace trackbed
