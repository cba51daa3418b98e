#include "engine/row_digest.hpp"

#include <array>
#include <cstdint>
#include <string_view>

#include "trackbed/base/sha256.hpp"

namespace trackbed {
namespace {

std::string_view Bytes(const void* data, int size) {
  return data == nullptr
             ? std::string_view()
             : std::string_view(static_cast<const char*>(data), static_cast<size_t>(size));
}

void RowDigest(sqlite3_context* context, int count, sqlite3_value** values) {
  auto& hash = *static_cast<Sha256*>(sqlite3_user_data(context));
  for (int i = 0; i < count; ++i) {
    sqlite3_value* value = values[i];
    const int type = sqlite3_value_type(value);
    // The type, then an integer or the length, then what is of that length.
    std::array<char, 9> head{static_cast<char>(type)};
    std::string_view bytes;
    auto number = uint64_t{0};
    if (type == SQLITE_INTEGER) {
      number = static_cast<uint64_t>(sqlite3_value_int64(value));
    } else if (type != SQLITE_NULL) {
      const void* data = sqlite3_value_blob(value);
      bytes = Bytes(data, sqlite3_value_bytes(value));
      number = bytes.size();
    }
    for (size_t byte = 1; byte < head.size(); ++byte, number >>= 8U) {
      head[byte] = static_cast<char>(number & 0xffU);
    }
    hash.Update({head.data(), head.size()});
    hash.Update(bytes);
  }
  sqlite3_result_int64(context, static_cast<int64_t>(hash.FinishNumber()));
}

void DeleteHash(void* hash) { delete static_cast<Sha256*>(hash); }

}  // namespace

int AddRowDigest(sqlite3* database) {
  return sqlite3_create_function_v2(database, "row_digest", -1, SQLITE_UTF8 | SQLITE_DETERMINISTIC,
                                    new Sha256, RowDigest, nullptr, nullptr, DeleteHash);
}

}  // namespace trackbed
