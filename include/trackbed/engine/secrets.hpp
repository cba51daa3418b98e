// Where the values behind secret:// references come from.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "trackbed/base/status.hpp"

namespace trackbed {

class SecretSource {
 public:
  virtual ~SecretSource() = default;
  // kInvalidArgument when there is no such source: a run that needs it is not taken.
  virtual Status CheckSource(std::string_view source) const {
    static_cast<void>(source);
    return absl::OkStatus();
  }
  // The value of secret://`source`/`name`. kNotFound says what to set. The value is never logged.
  virtual StatusOr<std::string> Resolve(std::string_view source, std::string_view name) = 0;
};

// secret://env/NAME from the environment of this process; secret://file/NAME from the file
// `folder`/NAME, which must not be readable by others (mode 0600) and may end in one newline.
std::unique_ptr<SecretSource> NewLocalSecrets(std::string folder);

}  // namespace trackbed
