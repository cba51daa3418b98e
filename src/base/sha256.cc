// SHA-256 through OpenSSL's EVP interface.
#include "trackbed/base/sha256.hpp"

#include <openssl/evp.h>

#include <new>

namespace trackbed {
namespace {

// libcrypto fails here only when memory is out, which is reported as everywhere else in C++.
void Check(bool ok) {
  if (!ok) throw std::bad_alloc();
}

}  // namespace

struct Sha256::Context {
  Context() : evp(EVP_MD_CTX_new()) { Check(evp != nullptr); }
  ~Context() { EVP_MD_CTX_free(evp); }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  EVP_MD_CTX* evp;
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
  Check(EVP_DigestInit_ex(context_->evp, EVP_sha256(), nullptr) == 1);
}

Sha256::~Sha256() = default;

void Sha256::Update(std::string_view bytes) {
  Check(EVP_DigestUpdate(context_->evp, bytes.data(), bytes.size()) == 1);
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
  Check(EVP_DigestFinal_ex(context_->evp, digest.data(), nullptr) == 1);
  // No algorithm named: the one in use stays.
  Check(EVP_DigestInit_ex(context_->evp, nullptr, nullptr) == 1);
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string hex;
  hex.reserve(2 * digest.size());
  for (const unsigned char byte : digest) {
    hex.push_back(kDigits[byte >> 4]);
    hex.push_back(kDigits[byte & 15]);
  }
  return hex;
}

std::string ContentAddress(std::string_view bytes) {
  Sha256 hash;
  hash.Update(bytes);
  return "sha256:" + hash.FinishHex();
}

}  // namespace trackbed
