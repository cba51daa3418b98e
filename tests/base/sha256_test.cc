// SHA-256 against the vectors of FIPS 180-4.
#include "trackbed/base/sha256.hpp"

#include "support/catch.hpp"

namespace trackbed {
namespace {

TEST_CASE("Known digests") {
  CHECK(ContentAddress("") ==
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(ContentAddress("abc") ==
        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(ContentAddress("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
        "sha256:248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

TEST_CASE("Pieces hash as the whole, and the object can be used again") {
  Sha256 hash;
  for (int i = 0; i < 1000; ++i) hash.Update(std::string(1000, 'a'));
  CHECK(hash.FinishHex() == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  hash.Update("a");
  hash.Update("bc");
  CHECK("sha256:" + hash.FinishHex() == ContentAddress("abc"));
}

TEST_CASE("Fields do not run into each other") {
  Sha256 one;
  one.UpdateField("ab");
  one.UpdateField("c");
  Sha256 other;
  other.UpdateField("a");
  other.UpdateField("bc");
  CHECK(one.FinishHex() != other.FinishHex());
}

}  // namespace
}  // namespace trackbed
