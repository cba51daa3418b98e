// Conditions and ${{ … }}: what they mean, and what their errors say.
#include "trackbed/pipeline/expression.hpp"

#include <cstdio>
#include <limits>
#include <map>

#include "pipeline/template_parts.hpp"
#include "support/catch.hpp"

namespace trackbed {
namespace {

constexpr int64_t kLarge = 9007199254740993;  // 2^53 + 1, no double

StatusOr<Value> Resolve(const Reference& reference) {
  static const std::map<std::string, Value> values = {
      {"params.alpha", 0.5},
      {"params.epochs", int64_t{3}},
      {"params.kind", std::string("linear")},
      {"params.fast", true},
      {"params.large", kLarge},
      {"params.near-large", 9007199254740992.0},
      {"params.nan", std::numeric_limits<double>::quiet_NaN()},
      {"params.nul", std::string("a\0b", 3)},
      {"params.words", std::string("it's $HOME")},
      {"params.empty", std::string()},
      {"tasks.train.state", std::string("succeeded")},
      {"tasks.v1.2.outputs.accuracy", 0.93},
  };
  const auto found = values.find(reference.ToString());
  if (found != values.end()) return found->second;
  return NotFound("there is no " + reference.ToString());
}

std::string ParseError(std::string_view text) {
  const StatusOr<Expression> expression = Expression::Parse(text);
  if (expression.ok()) return "parsed";
  CHECK(expression.status().code() == StatusCode::kInvalidArgument);
  return std::string(Message(expression.status()));
}

// The value as text, or the error in angle brackets.
std::string Evaluate(std::string_view text) {
  const StatusOr<Expression> expression = Expression::Parse(text);
  if (!expression.ok()) return "<" + std::string(Message(expression.status())) + ">";
  const StatusOr<Value> value = expression->Evaluate(Resolve);
  if (!value.ok()) return "<" + std::string(Message(value.status())) + ">";
  return ToText(*value);
}

bool IsTrue(std::string_view text) {
  const std::string result = Evaluate(text);
  INFO(text << " gave " << result);
  REQUIRE((result == "true" || result == "false"));
  return result == "true";
}

TEST_CASE("literals and references have their values and types") {
  const auto type = [](std::string_view text) {
    return TypeOf(*Expression::Parse(text)->Evaluate(Resolve));
  };
  CHECK(type("'a'") == ValueType::string);
  CHECK(type("12") == ValueType::integer);
  CHECK(type("-12") == ValueType::integer);
  CHECK(type("1.5e3") == ValueType::number);
  CHECK(type("true") == ValueType::boolean);
  CHECK(type("params.alpha") == ValueType::number);
  CHECK(Evaluate("'say \"hi\"'") == "say \"hi\"");
  CHECK(Evaluate("'it''s'") == "it's");
  CHECK(Evaluate("\"a\"\"b\"") == "a\"b");
  CHECK(Evaluate("'back\\slash'") == "back\\slash");
  CHECK(Evaluate("''") == "");
  CHECK(Evaluate("''''") == "'");
  CHECK(Evaluate(" ( ( 'x' ) ) ") == "x");
  CHECK(Evaluate("-9223372036854775808") == "-9223372036854775808");
  CHECK(Evaluate("tasks.v1.2.outputs.accuracy") == "0.93");
}

TEST_CASE("comparisons") {
  CHECK(IsTrue("params.alpha == 0.5"));
  CHECK(IsTrue("params.alpha != 1"));
  CHECK(IsTrue("params.epochs >= 3"));
  CHECK(IsTrue("params.epochs < 3.5"));
  CHECK_FALSE(IsTrue("params.epochs > 3.0"));
  CHECK(IsTrue("params.epochs == 3.0"));
  CHECK(IsTrue("-1.5 < -1"));
  CHECK(IsTrue("-2 < -1.5"));
  CHECK(IsTrue("'abc' < 'abd'"));
  CHECK(IsTrue("params.kind == \"linear\""));
  CHECK(IsTrue("params.fast == true"));
  CHECK(IsTrue("tasks.train.state == 'succeeded'"));
}

TEST_CASE("integers and numbers compare without loss") {
  CHECK(IsTrue("params.large > params.near-large"));
  CHECK_FALSE(IsTrue("params.large == 9007199254740992.0"));
  CHECK(IsTrue("9007199254740992 == 9007199254740992.0"));
  CHECK(IsTrue("9223372036854775807 < 9223372036854775808.0"));
  CHECK(IsTrue("9223372036854775807 < 1e300"));
  CHECK(IsTrue("-9223372036854775808 > -1e300"));
  CHECK(IsTrue("-9223372036854775808 == -9223372036854775808.0"));
  CHECK(IsTrue("1e300 > 9223372036854775807"));
  CHECK_FALSE(IsTrue("1 == params.nan"));
  CHECK(IsTrue("1 != params.nan"));
  CHECK_FALSE(IsTrue("params.nan < 1"));
}

TEST_CASE("values of different kinds do not compare") {
  CHECK(Evaluate("params.epochs == '3'") == "<column 15: cannot compare an integer with a text>");
  CHECK(Evaluate("params.kind < 1.5") == "<column 13: cannot compare a text with a number>");
  CHECK(Evaluate("params.fast == 1") == "<column 13: cannot compare a boolean with an integer>");
  CHECK(Evaluate("true < false") == "<column 6: booleans have no order; use == or !=>");
}

TEST_CASE("and, or and not") {
  CHECK(IsTrue("true or false and false"));
  CHECK_FALSE(IsTrue("(true or false) and false"));
  CHECK(IsTrue("true || false && false"));
  CHECK(IsTrue("not params.epochs == 4"));
  CHECK(IsTrue("not not true"));
  CHECK(IsTrue("!false"));
  CHECK(IsTrue("!params.fast == false"));
  CHECK(IsTrue("!(params.epochs == 4) and !!true"));
  CHECK(Evaluate("true and 1") == "<column 10: found an integer, expected true or false>");
  CHECK(Evaluate("'yes' or true") == "<column 1: found a text, expected true or false>");
  CHECK(Evaluate("!params.epochs") == "<column 2: found an integer, expected true or false>");
}

TEST_CASE("and and or stop where the answer is known") {
  CHECK_FALSE(IsTrue("false and params.missing > 1"));
  CHECK(IsTrue("true or params.missing > 1"));
  CHECK(Evaluate("true and params.missing > 1") == "<there is no params.missing>");
}

TEST_CASE("membership in a list") {
  CHECK(IsTrue("params.kind in ['linear', \"tree\"]"));
  CHECK(IsTrue("params.epochs in [1, 3.0]"));
  CHECK_FALSE(IsTrue("params.epochs in []"));
  CHECK(IsTrue("params.epochs not in [1, 2,]"));
  CHECK(IsTrue("not params.epochs in [1, 2]"));
  CHECK(IsTrue("params.epochs in [1 , params.epochs] and true"));
  // A mistake shows even when an earlier element is equal.
  CHECK(Evaluate("params.epochs in [3, 'x']") ==
        "<column 22: cannot compare an integer with a text>");
}

TEST_CASE("errors say where and what") {
  CHECK(ParseError("") == "column 1: found the end, expected a value");
  CHECK(ParseError("params.a ==") == "column 12: found the end, expected a value");
  CHECK(ParseError("params.a = 1") == "column 10: found \"=\", expected \"==\"");
  CHECK(ParseError("params.a & true") == "column 10: found \"&\", expected \"&&\" or \"and\"");
  CHECK(ParseError("params.a | true") == "column 10: found \"|\", expected \"||\" or \"or\"");
  CHECK(ParseError("params.a 1") == "column 10: found \"1\", expected an operator or the end");
  CHECK(ParseError("1 'x'") == "column 3: found a text in quotes, expected an operator or the end");
  CHECK(ParseError("(1 == 1") == "column 8: found the end, expected an operator or \")\"");
  CHECK(ParseError("1 < 2 < 3") == "column 7: comparisons do not chain; join them with \"and\"");
  CHECK(ParseError("'abc") == "column 1: the quote is not closed");
  CHECK(ParseError("params..a") == "column 8: expected a name after \".\"");
  CHECK(ParseError("params.+a") == "column 8: expected a name after \".\"");
  CHECK(ParseError("params.") == "column 8: expected a name after \".\"");
  CHECK(ParseError("3x") == "column 1: found \"3x\", expected a number");
  CHECK(ParseError("1.2.3") == "column 1: found \"1.2.3\", expected a number");
  CHECK(ParseError("1.") == "column 3: expected a digit after \".\"");
  CHECK(ParseError("1e") == "column 3: expected the digits of an exponent");
  CHECK(ParseError("9223372036854775808") ==
        "column 1: the number 9223372036854775808 is out of range");
  CHECK(ParseError("1e999") == "column 1: the number 1e999 is out of range");
  CHECK(ParseError("tasks.a.state == succeeded") ==
        "column 18: found \"succeeded\", expected a name such as params.succeeded, or a text in "
        "quotes");
  CHECK(ParseError("[1]") == "column 1: a list stands only after \"in\"");
  CHECK(ParseError("1 in 2") == "column 6: found \"2\", expected a list such as [1, 2]");
  CHECK(ParseError("1 in [2 3]") == "column 9: found \"3\", expected \",\" or \"]\"");
  CHECK(ParseError("1 in [2") == "column 8: found the end, expected \",\" or \"]\"");
  CHECK(ParseError("1 not [2]") == "column 7: found \"[\", expected \"in\" after \"not\"");
  CHECK(ParseError("1 == not true") == "column 6: found \"not\", expected a value");
  CHECK(ParseError("params.a + 1") == "column 10: found \"+\", expected a value");
  CHECK(ParseError("\x01") ==
        "column 1: found a character that means nothing here outside of quotes");
}

TEST_CASE("columns count code points, and lines are named after the first") {
  CHECK(ParseError("'다람쥐' = 1") == "column 7: found \"=\", expected \"==\"");
  CHECK(ParseError("true and\n  1 = 2") == "line 2, column 5: found \"=\", expected \"==\"");
}

TEST_CASE("hostile expressions are errors, not crashes") {
  const std::string deep = "column 65: nested more than 64 deep";
  CHECK(ParseError(std::string(90'000, '(')) == deep);
  CHECK(ParseError(std::string(90'000, '!') + "true") == "column 64: nested more than 64 deep");
  std::string nots;
  for (int i = 0; i < 20'000; ++i) nots += "not ";
  CHECK(ParseError(nots + "true").ends_with("nested more than 64 deep"));
  std::string lists;
  for (int i = 0; i < 10'000; ++i) lists += "1 in [";
  CHECK(ParseError(lists).ends_with("nested more than 64 deep"));
  CHECK(ParseError(std::string(200'000, ' ')) ==
        "an expression of 200000 bytes is too long; the limit is 100000");
  // Length is no depth.
  std::string chain = "true";
  while (chain.size() < 90'000) chain += " and true";
  CHECK(IsTrue(chain));
  CHECK(IsTrue(std::string(60, '(') + "true" + std::string(60, ')')));
}

TEST_CASE("a condition must be a boolean") {
  const auto condition = [](std::string_view text) {
    return Expression::Parse(text)->EvaluateCondition(Resolve);
  };
  CHECK(*condition("params.fast"));
  CHECK_FALSE(*condition("params.epochs > 3"));
  CHECK(Message(condition("params.kind").status()) ==
        "column 1: found a text, expected true or false");
  CHECK(condition("params.missing").status().code() == StatusCode::kNotFound);
  CHECK(Expression::Parse("params.a")->Evaluate(nullptr).status().code() ==
        StatusCode::kInvalidArgument);
}

TEST_CASE("references in order of appearance, with duplicates") {
  const auto expression =
      Expression::Parse("params.b > 1 and not (params.a in [params.b, tasks.my.task.state])");
  REQUIRE(expression.ok());
  CHECK(expression->References() == std::vector<Reference>{{{"params", "b"}},
                                                           {{"params", "a"}},
                                                           {{"params", "b"}},
                                                           {{"tasks", "my.task", "state"}}});
}

TEST_CASE("the name of a task may have dots") {
  const auto parts = [](std::string_view text) {
    return Expression::Parse(text)->References().front().parts;
  };
  using Parts = std::vector<std::string>;
  CHECK(parts("tasks.train.outputs.x") == Parts{"tasks", "train", "outputs", "x"});
  CHECK(parts("tasks.a.b.c.outputs.x") == Parts{"tasks", "a.b.c", "outputs", "x"});
  CHECK(parts("tasks.outputs.outputs.x") == Parts{"tasks", "outputs", "outputs", "x"});
  CHECK(parts("tasks.a.outputs.state") == Parts{"tasks", "a", "outputs", "state"});
  CHECK(parts("tasks.a.state") == Parts{"tasks", "a", "state"});
  CHECK(parts("tasks.a") == Parts{"tasks", "a"});
  CHECK(parts("tasks.state") == Parts{"tasks", "state"});
  CHECK(parts("params.a.b") == Parts{"params", "a", "b"});
  CHECK(parts("params.-1_x-") == Parts{"params", "-1_x-"});
}

// The rendered text, or the error in angle brackets.
std::string Render(std::string_view text, Template::Quoting quoting = Template::Quoting::none) {
  const StatusOr<Template> parsed = Template::Parse(text);
  if (!parsed.ok()) return "<" + std::string(Message(parsed.status())) + ">";
  const StatusOr<std::string> result = parsed->Render(Resolve, quoting);
  return result.ok() ? *result : "<" + std::string(Message(result.status())) + ">";
}

TEST_CASE("a template puts values into text") {
  CHECK(Render("") == "");
  CHECK(Render("plain $HOME ${x} {{ y }} $") == "plain $HOME ${x} {{ y }} $");
  CHECK(Render("${{ params.epochs }}") == "3");
  CHECK(Render("--n=${{params.epochs}} --k=${{ params.kind }}.") == "--n=3 --k=linear.");
  CHECK(Render("${{ params.fast }}${{ params.alpha }}") == "true0.5");
  CHECK(Render("${{ 'a }} b' }}!") == "a }} b!");
  CHECK(Render("${{ \"}}\" }}") == "}}");
  CHECK(Render("a\n${{\n params.epochs\n}}\n") == "a\n3\n");
}

TEST_CASE("a doubled dollar stands for the text itself") {
  CHECK(Render("$${{ params.epochs }}") == "${{ params.epochs }}");
  CHECK(Render("$$${{ x }}") == "$${{ x }}");
  CHECK(Render("$$ $$$ ${{ params.epochs }}") == "$$ $$$ 3");
}

TEST_CASE("escaped text renders as itself") {
  for (const std::string_view text :
       {"", "$", "${{", "a ${{ x }} b", "$${{ x", "$$${{${{", "${${{", "{{}}", "$${"}) {
    INFO(text);
    CHECK(Render(EscapeTemplate(text)) == text);
  }
}

TEST_CASE("errors of a template are placed in its whole text") {
  CHECK(Render("echo ${{ params.a") ==
        "<column 6: \"${{\" is not closed by \"}}\"; write \"$${{\" for the text itself>");
  CHECK(Render("echo ${{ 'a }}") == "<column 10: the quote is not closed>");
  CHECK(Render("echo ${{ }}") == "<column 10: found \"}}\", expected a value>");
  CHECK(Render("a\nb ${{ 1 = 2 }}") == "<line 2, column 9: found \"=\", expected \"==\">");
  CHECK(Render("${{ params.missing }}") == "<there is no params.missing>");
  CHECK(Render("x${{ params.nul }}") == "<column 6: found a value with a NUL byte>");
}

TEST_CASE("references of a template") {
  const auto parsed = Template::Parse("${{ params.a }} x ${{ params.b == params.a }}");
  REQUIRE(parsed.ok());
  CHECK(parsed->References() ==
        std::vector<Reference>{{{"params", "a"}}, {{"params", "b"}}, {{"params", "a"}}});
}

TEST_CASE("values become one word of the shell") {
  constexpr auto kShell = Template::Quoting::shell;
  CHECK(Render("echo ${{ params.kind }}", kShell) == "echo linear");
  CHECK(Render("echo ${{ params.words }}", kShell) == "echo 'it'\\''s $HOME'");
  CHECK(Render("echo ${{ params.empty }}", kShell) == "echo ''");
  CHECK(Render("echo ${{ 'AZaz09_@%+=:,./-' }}", kShell) == "echo AZaz09_@%+=:,./-");
  CHECK(Render("echo ${{ '~' }} ${{ 'a b' }}", kShell) == "echo '~' 'a b'");
  CHECK(Render("x${{ params.nul }}", kShell) == "<column 6: found a value with a NUL byte>");
}

std::string RunShell(const std::string& command) {
  FILE* pipe = popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::string output;
  char buffer[256];
  while (const size_t size = fread(buffer, 1, sizeof buffer, pipe)) output.append(buffer, size);
  CHECK(pclose(pipe) == 0);
  return output;
}

TEST_CASE("a real shell reads every quoted value as it was") {
  std::string all_bytes;
  for (int byte = 1; byte < 256; ++byte) all_bytes += static_cast<char>(byte);
  const std::vector<std::string> values = {"",
                                           "plain",
                                           "a b",
                                           "it's",
                                           "''",
                                           "'",
                                           "\"$HOME\" `id` $(id) \\",
                                           "*?[a-z]",
                                           "-n; exit 1",
                                           "line\nline\n",
                                           "# no",
                                           "다람쥐",
                                           "~",
                                           "a=b",
                                           "\\",
                                           "!history !!",
                                           all_bytes,
                                           "%s%d\\n",
                                           "\t",
                                           "&& ||"};
  for (const std::string& value : values) {
    INFO(value);
    CHECK(RunShell("printf '[%s]' " + QuoteShellWord(value) + " end") == "[" + value + "][end]");
  }
}

}  // namespace
}  // namespace trackbed
