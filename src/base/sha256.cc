// SHA-256 by the functions of libcrypto that do nothing else. They cannot fail, read no
// configuration and leave nothing behind in the process; the EVP interface, which OpenSSL prefers,
// brings along all of libcrypto where that is linked in.
#define OPENSSL_SUPPRESS_DEPRECATED
#include "trackbed/base/sha256.hpp"

#include <openssl/sha.h>

namespace trackbed {

struct Sha256::Context {
  SHA256_CTX sha;
};

Sha256::Sha256() : context_(std::make_unique<Context>()) { SHA256_Init(&context_->sha); }

Sha256::~Sha256() = default;

void Sha256::Update(std::string_view bytes) {
  SHA256_Update(&context_->sha, bytes.data(), bytes.size());
}

void Sha256::UpdateField(std::string_view bytes) {
  std::array<char, 8> length{};
  for (size_t i = 0; i < length.size(); ++i) {
    length[i] = static_cast<char>((uint64_t{bytes.size()} >> (8 * i)) & 0xff);
  }
  Update({length.data(), length.size()});
  Update(bytes);
}

std::string Sha256::FinishHex() {
  std::array<unsigned char, 32> digest{};
  SHA256_Final(digest.data(), &context_->sha);
  SHA256_Init(&context_->sha);
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string hex;
  hex.reserve(2 * digest.size());
  for (const unsigned char byte : digest) {
    hex.push_back(kDigits[byte >> 4]);
    hex.push_back(kDigits[byte & 15]);
  }
  return hex;
}

uint64_t Sha256::FinishNumber() {
  std::array<unsigned char, 32> digest{};
  SHA256_Final(digest.data(), &context_->sha);
  SHA256_Init(&context_->sha);
  uint64_t number = 0;
  for (size_t i = 0; i < sizeof(number); ++i) number = number << 8U | digest[i];
  return number;
}

std::string ContentAddress(std::string_view bytes) {
  Sha256 hash;
  hash.Update(bytes);
  return "sha256:" + hash.FinishHex();
}

}  // namespace trackbed
