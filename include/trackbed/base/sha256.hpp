// SHA-256 (FIPS 180-4), by OpenSSL's libcrypto.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace trackbed {

// Content addresses are written "sha256:" and 64 lower-case hexadecimal digits.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void Update(std::string_view bytes);
  // A length-prefixed field, so that ("ab","c") and ("a","bc") differ.
  void UpdateField(std::string_view bytes);
  // The digest in hexadecimal, without prefix. The object is then ready for a new message.
  std::string FinishHex();
  // The first 64 bits of the digest, for finding damage; the same on every machine.
  uint64_t FinishNumber();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

// "sha256:…" of `bytes`.
std::string ContentAddress(std::string_view bytes);

}  // namespace trackbed
