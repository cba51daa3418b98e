// Documents as trees: positions, what is text, and what is refused.
#include "pipeline/document.hpp"

#include "support/catch.hpp"
#include "support/processor_time.hpp"

namespace trackbed {
namespace {

struct Parsed {
  bool ok = false;
  DocumentNode root;
  Diagnostics diagnostics;
};

Parsed Yaml(std::string_view text, const ReaderLimits& limits = {}) {
  Parsed parsed;
  parsed.ok = ParseYamlDocument(text, limits, &parsed.root, &parsed.diagnostics);
  CHECK(parsed.ok != parsed.diagnostics.has_errors());
  return parsed;
}

Parsed Json(std::string_view text, const ReaderLimits& limits = {}) {
  Parsed parsed;
  parsed.ok = ParseJsonDocument(text, limits, &parsed.root, &parsed.diagnostics);
  CHECK(parsed.ok != parsed.diagnostics.has_errors());
  return parsed;
}

std::string Repeat(std::string_view text, int count) {
  std::string result;
  for (int i = 0; i < count; ++i) result += text;
  return result;
}

TEST_CASE("YAML values keep their place, and quotes make text") {
  const Parsed parsed = Yaml("é: \"é\"\nlist: [1, 'two', x: y]\nblock: |\n  a\n  b\nnone: ~\n");
  REQUIRE(parsed.ok);
  const DocumentNode& root = parsed.root;
  REQUIRE(root.kind == DocumentNode::Kind::map);
  REQUIRE(root.members.size() == 4);
  CHECK(root.position == Position{1, 1});
  CHECK(root.members[0].key == "é");
  CHECK(root.members[0].value.position == Position{1, 4});  // columns count code points
  CHECK(root.members[0].value.quoted);
  const DocumentNode& list = *root.Find("list");
  REQUIRE(list.items.size() == 3);
  CHECK(list.position == Position{2, 7});
  CHECK_FALSE(list.items[0].quoted);
  CHECK(list.items[1].quoted);
  CHECK(list.items[1].position == Position{2, 11});
  CHECK(list.items[2].Find("x")->scalar == "y");
  CHECK(root.Find("block")->scalar == "a\nb\n");
  CHECK(root.Find("block")->quoted);
  CHECK(root.Find("none")->kind == DocumentNode::Kind::null);
  CHECK(root.Find("absent") == nullptr);
  CHECK(root.members[3].key_position == Position{6, 1});
}

TEST_CASE("YAML with a byte order mark, Windows line ends and document markers") {
  const Parsed parsed = Yaml("\xef\xbb\xbf%YAML 1.2\r\n---\r\na: 1\r\nb: x\r\n...\r\n");
  REQUIRE(parsed.ok);
  CHECK(parsed.root.Find("a")->scalar == "1");
  CHECK(parsed.root.Find("b")->scalar == "x");
  CHECK(parsed.root.Find("b")->position == Position{4, 4});
}

TEST_CASE("Every escape of YAML gives UTF-8") {
  const Parsed parsed = Yaml("\"\\N\": \"é\\N\\_\\L\\P\\x85\\u00a0\\U0001F600\\e\"\n");
  REQUIRE(parsed.ok);
  CHECK(parsed.root.members[0].key == "\xc2\x85");
  CHECK(parsed.root.members[0].value.scalar ==
        "é\xc2\x85\xc2\xa0\xe2\x80\xa8\xe2\x80\xa9\xc2\x85\xc2\xa0\xf0\x9f\x98\x80\x1b");
}

TEST_CASE("YAML aliases stand for copies") {
  const Parsed parsed = Yaml("a: &x {k: [1, 2]}\nb: *x\nc: &s text\n*s : d\n");
  REQUIRE(parsed.ok);
  CHECK(parsed.root.Find("b")->Find("k")->items.size() == 2);
  CHECK(parsed.root.Find("text")->scalar == "d");
}

TEST_CASE("Core tags are understood") {
  const Parsed parsed = Yaml("a: !!str 5\nb: ! 5\nc: !!int 5\nd: !!map {}\ne: !!seq []\n");
  REQUIRE(parsed.ok);
  CHECK(parsed.root.Find("a")->quoted);
  CHECK(parsed.root.Find("b")->quoted);
  CHECK_FALSE(parsed.root.Find("c")->quoted);
}

TEST_CASE("What is wrong with YAML is said with its place") {
  struct Case {
    std::string text;
    std::string message;
  };
  const Case cases[] = {
      {"", "1:1: the document is empty"},
      {" \n\t\n", "1:1: the document is empty"},
      {"# only a comment\n", "1:1: the document is empty"},
      {"---\n", "1:1: the document is empty"},
      {std::string("a: b\0c\n", 7),
       "1:5: found a NUL byte, expected text; this looks like a binary file"},
      {"a: \x04\n", "1:4: found the control character U+0004, expected text"},
      {"é: \xff\n", "1:4: found the byte 0xFF, which is not valid UTF-8"},
      {"a: \xed\xa0\x80\n", "1:4: found the byte 0xED, which is not valid UTF-8"},
      {"a: \xc3", "1:4: found the byte 0xC3, which is not valid UTF-8"},
      {"a: \"x\\0y\"\n", "1:4: a: found a NUL character, which no text may hold"},
      {"a: 1\nb: 2\na: 3\n", "3:1: duplicate key \"a\"; the first is on line 1"},
      {"x:\n- {k: 1, k: 2}\n", "2:10: x[0]: duplicate key \"k\"; the first is on line 2"},
      {"a: 1\n---\nb: 2\n",
       "2:1: a second document starts here, expected only one; check the indentation if this was "
       "not meant"},
      {"a: &x [*x]\n", "1:8: a[0]: the alias stands for a value that holds the alias itself"},
      {"a: *x\n", "1:4: not valid YAML: the alias stands for an anchor that is not defined"},
      {"[a]: b\n", "1:1: found a list, expected a key; is its bracket closed?"},
      {"? {a: b}\n: c\n", "1:3: found a map, expected a key; is its bracket closed?"},
      {"a:\n- {b: c\n- {d: e}\n", "2:3: a[0]: found a map, expected a key; is its bracket closed?"},
      {"~: c\n", "1:1: found nothing, expected a key"},
      {"a: &x [1]\n*x : b\n", "2:1: found an alias of a list or a map, expected a key"},
      {"a:\n  <<: {b: 1}\n",
       "2:3: a: merge keys (<<) are not supported; use \"defaults\" or an alias of the whole "
       "value"},
      {"a: !!binary abc\n", "1:4: a: the tag !!binary is not supported here"},
      {"a: !mine abc\n", "1:4: a: the tag !mine is not supported"},
      {"a: b: c\n",
       "1:5: not valid YAML: found \":\" where no value may start; check the indentation, and put "
       "text that holds \": \" in quotes"},
      {"a: [1, 2\n", "2:1: not valid YAML: a \"[\" is not closed, or a comma is missing"},
      {"a: \"b\n", "1:4: not valid YAML: a text in quotes is not closed"},
      {"a: 'it''s\n\n", "1:4: not valid YAML: a text in quotes is not closed"},
      {"a: !!str 'b''\n", "1:4: not valid YAML: a text in quotes is not closed"},
      {"a: \"b", "1:6: not valid YAML: a text in quotes is not closed"},
      {"a:\n\t- b\n", "2:2: not valid YAML: found a tab in the indentation, expected spaces"},
      {"a: @b\n",
       "1:4: not valid YAML: found a character that may not start a value; put the text in "
       "quotes"},
      {"a: \"\\q\"\n", "1:7: not valid YAML: unknown escape character: q"},
      {Repeat("k", 1001) + ": 1\n", "1:1: found a key of 1001 bytes, expected at most 1000"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.text);
    CHECK(Yaml(c.text).diagnostics.ToString() == c.message);
  }
}

TEST_CASE("JSON values keep their place and their digits") {
  const Parsed parsed = Json(
      "{\"é\": [1, -2.50,\n 12345678901234567890, true, null, \"a\\n\\u00e9\"],\n\"m\": {}}\n");
  REQUIRE(parsed.ok);
  const DocumentNode& list = parsed.root.members[0].value;
  REQUIRE(list.items.size() == 6);
  CHECK(parsed.root.members[0].key_position == Position{1, 2});
  CHECK(list.position == Position{1, 7});
  CHECK(list.items[0].scalar == "1");
  CHECK(list.items[0].position == Position{1, 8});
  CHECK(list.items[1].scalar == "-2.50");
  CHECK(list.items[1].position == Position{1, 11});
  CHECK(list.items[2].scalar == "12345678901234567890");
  CHECK(list.items[2].position == Position{2, 2});
  CHECK(list.items[3].scalar == "true");
  CHECK_FALSE(list.items[3].quoted);
  CHECK(list.items[4].kind == DocumentNode::Kind::null);
  CHECK(list.items[5].scalar == "a\né");
  CHECK(list.items[5].quoted);
  CHECK(parsed.root.Find("m")->position == Position{3, 6});
}

TEST_CASE("What is wrong with JSON is said with its place") {
  struct Case {
    std::string text;
    std::string message;
  };
  const Case cases[] = {
      {"", "1:1: the document is empty"},
      {"{\"a\": 1, \"a\": 2}", "1:10: duplicate key \"a\"; the first is on line 1"},
      {"{\"a\": [1, {\"b\": 1,\n \"b\": 2}]}",
       "2:2: a[1]: duplicate key \"b\"; the first is on line 1"},
      {"{\"a\": \"\\u0000\"}", "1:7: a: found a NUL character, which no text may hold"},
      {"{\"a\": 1} x", "1:10: not valid JSON: invalid literal; expected end of input"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.text);
    CHECK(Json(c.text).diagnostics.ToString() == c.message);
  }
  for (std::string_view text : {"{", "[1,]", "{\"a\" 1}", "nul", "\"abc", "1e999", "{'a': 1}",
                                "[1] [2]", "// x\n1", "[\"\\ud800\"]", "NaN", "-", "1\"a\""}) {
    CAPTURE(text);
    const Parsed parsed = Json(text);
    CHECK(parsed.diagnostics.error_count() == 1);
    CHECK(parsed.diagnostics.items().at(0).position.line == 1);
  }
}

TEST_CASE("Depth, size and number of values have limits") {
  ReaderLimits limits;
  limits.max_depth = 3;
  CHECK(Yaml("[[[1]]]", limits).ok);
  CHECK(Yaml("[[[[1]]]]", limits).diagnostics.ToString() ==
        "1:4: lists and maps are nested more than 3 deep");
  CHECK(Yaml("a: &x [[1]]\nb: [*x]\n", limits).diagnostics.ToString() ==
        "2:5: lists and maps are nested more than 3 deep");
  CHECK(Json("[[[[1]]]]", limits).diagnostics.ToString() ==
        "1:4: lists and maps are nested more than 3 deep");
  limits = {};
  limits.max_nodes = 4;
  CHECK(Yaml("[1, 2, 3]", limits).ok);
  CHECK(Yaml("[1, 2, 3, 4]", limits).diagnostics.ToString() ==
        "1:11: [3]: the document holds more than 4 values (aliases count as what they stand for)");
  CHECK_FALSE(Json("[1, 2, 3, 4]", limits).ok);
  limits = {};
  limits.max_aliased = 5;
  CHECK(Yaml("[&a [1, 2], *a]", limits).ok);
  CHECK(Yaml("[&a [1, 2], *a, *a]", limits).diagnostics.ToString() ==
        "1:17: [2]: the aliases of the document stand for more than 5 values");
  CHECK_THAT(
      Yaml("[&a [1, 2, 3, 4, 5]]", limits).diagnostics.ToString(),
      Catch::StartsWith("1:2: ") && Catch::EndsWith("the anchors of the document hold too much"));
  limits = {};
  limits.max_bytes = 10;
  CHECK(Yaml("0123456789", limits).ok);
  CHECK(Yaml("01234567890", limits).diagnostics.ToString() ==
        "the document has 11 bytes; at most 10 are read");
}

TEST_CASE("Hostile documents are refused quickly") {
  // Each alias doubles (or more) what came before it.
  std::string bomb = "a0: &a0 [" + Repeat("lol, ", 9) + "lol]\n";
  std::string text_bomb = "a0: &a0 " + std::string(100000, 'x') + "\n";
  for (int i = 1; i < 60; ++i) {
    const std::string n = std::to_string(i);
    const std::string list =
        "a" + n + ": &a" + n + " [" + Repeat("*a" + std::to_string(i - 1) + ", ", 10) + "]\n";
    bomb += list;
    text_bomb += list;
  }
  const std::string cases[] = {
      bomb,
      text_bomb,
      std::string(2'000'000, '['),
      Repeat("[a,", 700'000),
      Repeat("- ", 400'000),
      Repeat("{a: ", 400'000),
      Repeat("? ", 400'000),
      Repeat("&a ", 400'000),
      "[" + Repeat("1,", 1'000'000) + "]",
      "a: |\n" + Repeat("  text\n", 300'000),
      "\"" + std::string(2'000'000, 'x'),
      Repeat("#\n", 2'000'000),
      Repeat("---\n", 400'000),
      Repeat("%", 400'000),
      Repeat("!", 400'000),
  };
  ReaderLimits limits;
  limits.max_nodes = 300'000;
  for (const std::string& text : cases) {
    const double start = ProcessorSeconds();
    const Parsed parsed = Yaml(text, limits);
    const double took = ProcessorSeconds() - start;
    CAPTURE(text.substr(0, 20), parsed.diagnostics.ToString().substr(0, 200));
    CHECK(parsed.diagnostics.error_count() == 1);
    CHECK(parsed.diagnostics.ToString().size() < 300);
    CHECK(took < 15);
    Json(text, limits);
  }
}

TEST_CASE("Many keys are looked up fast") {
  std::string text;
  for (int i = 0; i < 30'000; ++i) text += "key" + std::to_string(i) + ": 1\n";
  const double start = ProcessorSeconds();
  CHECK(Yaml(text).ok);
  CHECK(Yaml(text + "key20000: 2\n").diagnostics.ToString() ==
        "30001:1: duplicate key \"key20000\"; the first is on line 20001");
  CHECK(ProcessorSeconds() - start < 30);
}

TEST_CASE("Found values are described for messages") {
  const Parsed parsed = Yaml(
      "[~, abc, 2, \"2\", true, [], {}, \"a\nb\", "
      "éééééééééééééééééééééééééééééé]");
  REQUIRE(parsed.ok);
  const std::vector<DocumentNode>& items = parsed.root.items;
  CHECK(Describe(items[0]) == "nothing");
  CHECK(Describe(items[1]) == "\"abc\"");
  CHECK(Describe(items[2]) == "2");
  CHECK(Describe(items[3]) == "the text \"2\"");
  CHECK(Describe(items[4]) == "true");
  CHECK(Describe(items[5]) == "a list");
  CHECK(Describe(items[6]) == "a map");
  CHECK(Describe(items[7]) == "\"a b\"");
  CHECK(Describe(items[8]) == "\"éééééééééééééééééééééééé…\"");
}

}  // namespace
}  // namespace trackbed
