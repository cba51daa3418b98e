#include "trackbed/pipeline/text_list.hpp"

#include <string>
#include <vector>

#include "support/catch.hpp"

namespace trackbed {
namespace {

using Texts = std::vector<std::string>;

Texts Read(const TextList& list) { return {list.begin(), list.end()}; }

TEST_CASE("A list of texts gives back what it was given") {
  CHECK(TextList().empty());
  CHECK(TextList().size() == 0);
  CHECK(TextList() == TextList(Texts{}));
  // Lengths around the one from which they need more room, empty ones, and zero bytes.
  Texts texts = {"", std::string("\0\0", 2), "\xff"};
  for (const size_t length : {1U, 14U, 15U, 16U, 253U, 254U, 255U, 256U, 100'000U}) {
    texts.emplace_back(length, 'x');
    texts.emplace_back();
  }
  const TextList list = texts;
  CHECK(Read(list) == texts);
  CHECK(list.size() == texts.size());
  CHECK_FALSE(list.empty());
  CHECK(list.front().empty());
  for (size_t i = 0; i < texts.size(); ++i) CHECK(list[i] == texts[i]);
  TextList one_by_one;
  for (const std::string& text : texts) one_by_one.push_back(text);
  CHECK(one_by_one == list);
  one_by_one.clear();
  CHECK(one_by_one == TextList());
}

TEST_CASE("Lists of texts differ where their texts do") {
  const TextList list = {"ab", "c"};
  CHECK(list == Texts{"ab", "c"});
  CHECK_FALSE(list == Texts{"a", "bc"});
  CHECK_FALSE(list == Texts{"abc"});
  CHECK_FALSE(list == Texts{"ab", "c", ""});
  TextList copy = list;
  copy.push_back("d");
  CHECK(Read(list) == Texts{"ab", "c"});
  CHECK(Read(copy) == Texts{"ab", "c", "d"});
  copy = {std::string(copy.front()) + "!"};
  CHECK(Read(copy) == Texts{"ab!"});
}

}  // namespace
}  // namespace trackbed
