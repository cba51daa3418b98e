// Parses and evaluates the language of conditions and of ${{ … }}.
#include "trackbed/pipeline/expression.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <compare>
#include <limits>
#include <optional>
#include <utility>

#include "pipeline/template_parts.hpp"
#include "pipeline/text_place.hpp"

namespace trackbed {

struct Expression::Node {
  enum class Kind { literal, reference, all, any, negation, comparison, membership };
  enum class Operator { equal, not_equal, less, less_equal, greater, greater_equal };

  Kind kind = Kind::literal;
  TextPlace place;  // of the value or operator, for errors of the evaluation
  Value literal;
  Reference reference;
  Operator comparison = Operator::equal;
  std::vector<Node> children;  // of `membership`: what is looked for, then the list
};

namespace {

using Node = Expression::Node;
using Kind = Node::Kind;
using Operator = Node::Operator;

// Nesting of parentheses and negations. Every function below that recurses is bounded by it.
constexpr int kMaxDepth = 64;
constexpr size_t kMaxLength = 100'000;  // bytes; a parsed expression is many times its text

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool IsNamePart(char c) { return IsLetter(c) || IsDigit(c) || c == '-'; }
bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

struct Token {
  enum class Kind { end, name, number, text, symbol };
  Kind kind = Kind::end;
  size_t offset = 0;
  std::string_view source;  // as written
};

// Cuts [begin, end) of a text into tokens, one at a time. Places are those in the whole text.
class Lexer {
 public:
  Lexer(std::string_view text, size_t begin, size_t end, TextPlaces* places)
      : text_(text), end_(end), position_(begin), places_(places) {}

  StatusOr<Token> Next() {
    while (position_ < end_ && IsSpace(text_[position_])) ++position_;
    const size_t begin = position_;
    if (begin == end_) return Make(Token::Kind::end, begin);
    const char c = text_[begin];
    if (IsLetter(c)) return LexName(begin);
    if (IsDigit(c) || (c == '-' && begin + 1 < end_ && IsDigit(text_[begin + 1]))) {
      return LexNumber(begin);
    }
    if (c == '\'' || c == '"') return LexText(begin);
    return LexSymbol(begin);
  }

  Status ErrorAt(size_t offset, std::string_view message) const {
    return InvalidArgument(places_->At(offset).ToString() + ": " + std::string(message));
  }
  TextPlace PlaceOf(const Token& token) const { return places_->At(token.offset); }

 private:
  char Peek(size_t offset) const { return offset < end_ ? text_[offset] : '\0'; }

  Token Make(Token::Kind kind, size_t begin) const {
    return {kind, begin, text_.substr(begin, position_ - begin)};
  }

  // A name with all of its dots.
  StatusOr<Token> LexName(size_t begin) {
    while (IsNamePart(Peek(position_))) ++position_;
    while (Peek(position_) == '.') {
      ++position_;
      const size_t part = position_;
      while (IsNamePart(Peek(position_))) ++position_;
      if (position_ == part) {
        return ErrorAt(part, "expected a name after \".\"");
      }
    }
    return Make(Token::Kind::name, begin);
  }

  StatusOr<Token> LexNumber(size_t begin) {
    ++position_;  // a digit or the sign
    while (IsDigit(Peek(position_))) ++position_;
    if (Peek(position_) == '.') {
      ++position_;
      if (!IsDigit(Peek(position_))) return ErrorAt(position_, "expected a digit after \".\"");
      while (IsDigit(Peek(position_))) ++position_;
    }
    if (Peek(position_) == 'e' || Peek(position_) == 'E') {
      ++position_;
      if (Peek(position_) == '+' || Peek(position_) == '-') ++position_;
      if (!IsDigit(Peek(position_)))
        return ErrorAt(position_, "expected the digits of an exponent");
      while (IsDigit(Peek(position_))) ++position_;
    }
    if (IsNamePart(Peek(position_)) || Peek(position_) == '.') {
      while (IsNamePart(Peek(position_)) || Peek(position_) == '.') ++position_;
      const std::string found(Make(Token::Kind::number, begin).source);
      return ErrorAt(begin, "found \"" + found + "\", expected a number");
    }
    return Make(Token::Kind::number, begin);
  }

  StatusOr<Token> LexText(size_t begin) {
    const char quote = text_[begin];
    for (position_ = begin + 1; position_ < end_; ++position_) {
      if (text_[position_] != quote) continue;
      if (Peek(position_ + 1) != quote) {
        ++position_;
        return Make(Token::Kind::text, begin);
      }
      ++position_;
    }
    return ErrorAt(begin, "the quote is not closed");
  }

  StatusOr<Token> LexSymbol(size_t begin) {
    static constexpr std::string_view kSymbols[] = {"==", "!=", "<=", ">=", "&&", "||", "<",
                                                    ">",  "!",  "(",  ")",  "[",  "]",  ","};
    const std::string_view rest = text_.substr(begin, end_ - begin);
    for (const std::string_view symbol : kSymbols) {
      if (!rest.starts_with(symbol)) continue;
      position_ = begin + symbol.size();
      return Make(Token::Kind::symbol, begin);
    }
    if (rest.front() == '=') return ErrorAt(begin, "found \"=\", expected \"==\"");
    if (rest.front() == '&') return ErrorAt(begin, "found \"&\", expected \"&&\" or \"and\"");
    if (rest.front() == '|') return ErrorAt(begin, "found \"|\", expected \"||\" or \"or\"");
    const auto byte = static_cast<unsigned char>(rest.front());
    if (byte > 0x20 && byte < 0x7F) {
      return ErrorAt(begin, "found \"" + std::string(1, rest.front()) + "\", expected a value");
    }
    return ErrorAt(begin, "found a character that means nothing here outside of quotes");
  }

  std::string_view text_;
  size_t end_;
  size_t position_;
  TextPlaces* places_;
};

std::optional<Operator> ComparisonOf(std::string_view symbol) {
  if (symbol == "==") return Operator::equal;
  if (symbol == "!=") return Operator::not_equal;
  if (symbol == "<") return Operator::less;
  if (symbol == "<=") return Operator::less_equal;
  if (symbol == ">") return Operator::greater;
  if (symbol == ">=") return Operator::greater_equal;
  return std::nullopt;
}

// "tasks.a.b.outputs.x" -> {"tasks", "a.b", "outputs", "x"}: tasks may have dots in their names.
Reference SplitReference(std::string_view name) {
  Reference reference;
  size_t begin = 0;
  while (begin <= name.size()) {
    const size_t dot = std::min(name.find('.', begin), name.size());
    reference.parts.emplace_back(name.substr(begin, dot - begin));
    begin = dot + 1;
  }
  std::vector<std::string>& parts = reference.parts;
  if (parts.front() != "tasks") return reference;
  size_t task_end = 0;  // index after the last part of the task's name
  if (parts.size() > 3 && parts[parts.size() - 2] == "outputs") task_end = parts.size() - 2;
  if (parts.size() > 2 && task_end == 0 && parts.back() == "state") task_end = parts.size() - 1;
  for (size_t i = 2; i < task_end; ++i) parts[1] += "." + parts[i];
  if (task_end > 2) {
    parts.erase(parts.begin() + 2, parts.begin() + static_cast<std::ptrdiff_t>(task_end));
  }
  return reference;
}

// or := and ("or" and)*    and := not ("and" not)*    not := "not" not | comparison
// comparison := unary [operator unary | ["not"] "in" list]    unary := "!" unary | primary
class Parser {
 public:
  // `end_name` is how the end of the expression is called in messages.
  Parser(std::string_view text, size_t begin, size_t end, std::string_view end_name,
         TextPlaces* places)
      : lexer_(text, begin, end, places), end_name_(end_name), length_(end - begin) {}

  StatusOr<Node> Parse() {
    if (length_ > kMaxLength) {
      return InvalidArgument("an expression of " + std::to_string(length_) +
                             " bytes is too long; the limit is " + std::to_string(kMaxLength));
    }
    TRACKBED_RETURN_IF_ERROR(Advance());
    TRACKBED_ASSIGN_OR_RETURN(Node node, ParseOr());
    if (token_.kind != Token::Kind::end) return Unexpected("an operator or the end");
    return node;
  }

 private:
  Status Advance() {
    TRACKBED_ASSIGN_OR_RETURN(token_, lexer_.Next());
    return absl::OkStatus();
  }

  bool At(std::string_view source) const {
    return (token_.kind == Token::Kind::name || token_.kind == Token::Kind::symbol) &&
           token_.source == source;
  }
  bool AtKeyword() const { return At("and") || At("or") || At("not") || At("in"); }

  Status Unexpected(std::string_view expected) const {
    std::string found(end_name_);
    if (token_.kind == Token::Kind::text) {
      found = "a text in quotes";
    } else if (token_.kind != Token::Kind::end) {
      found = "\"" + std::string(token_.source) + "\"";
    }
    return lexer_.ErrorAt(token_.offset, "found " + found + ", expected " + std::string(expected));
  }

  // Counts one level of nesting while it lives.
  class Nesting {
   public:
    explicit Nesting(int* depth) : depth_(depth) { ++*depth_; }
    ~Nesting() { --*depth_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;

   private:
    int* depth_;
  };

  StatusOr<Node> ParseOr() {
    const Nesting nesting(&depth_);
    if (depth_ > kMaxDepth) {
      return lexer_.ErrorAt(token_.offset,
                            "nested more than " + std::to_string(kMaxDepth) + " deep");
    }
    return ParseChain(Kind::any, "or", "||", &Parser::ParseAnd);
  }

  StatusOr<Node> ParseAnd() { return ParseChain(Kind::all, "and", "&&", &Parser::ParseNot); }

  // Operands side by side in one node, however many: depth must not grow with their number.
  StatusOr<Node> ParseChain(Kind kind, std::string_view word, std::string_view symbol,
                            StatusOr<Node> (Parser::*operand)()) {
    TRACKBED_ASSIGN_OR_RETURN(Node first, (this->*operand)());
    if (!At(word) && !At(symbol)) return first;
    Node chain;
    chain.kind = kind;
    chain.place = lexer_.PlaceOf(token_);
    chain.children.push_back(std::move(first));
    while (At(word) || At(symbol)) {
      TRACKBED_RETURN_IF_ERROR(Advance());
      TRACKBED_ASSIGN_OR_RETURN(Node next, (this->*operand)());
      chain.children.push_back(std::move(next));
    }
    return chain;
  }

  StatusOr<Node> ParseNot() {
    if (!At("not")) return ParseComparison();
    return ParseNegation(&Parser::ParseNot);
  }

  StatusOr<Node> ParseUnary() {
    if (!At("!")) return ParsePrimary();
    return ParseNegation(&Parser::ParseUnary);
  }

  StatusOr<Node> ParseNegation(StatusOr<Node> (Parser::*operand)()) {
    const Nesting nesting(&depth_);
    if (depth_ > kMaxDepth) {
      return lexer_.ErrorAt(token_.offset,
                            "nested more than " + std::to_string(kMaxDepth) + " deep");
    }
    const TextPlace place = lexer_.PlaceOf(token_);
    TRACKBED_RETURN_IF_ERROR(Advance());
    TRACKBED_ASSIGN_OR_RETURN(Node inner, (this->*operand)());
    return Negate(std::move(inner), place);
  }

  static Node Negate(Node inner, TextPlace place) {
    Node node;
    node.kind = Kind::negation;
    node.place = place;
    node.children.push_back(std::move(inner));
    return node;
  }

  StatusOr<Node> ParseComparison() {
    TRACKBED_ASSIGN_OR_RETURN(Node left, ParseUnary());
    const TextPlace place = lexer_.PlaceOf(token_);
    if (At("in")) return ParseMembership(std::move(left), place);
    if (At("not")) {
      TRACKBED_RETURN_IF_ERROR(Advance());
      if (!At("in")) return Unexpected("\"in\" after \"not\"");
      TRACKBED_ASSIGN_OR_RETURN(Node node, ParseMembership(std::move(left), place));
      return Negate(std::move(node), place);
    }
    const std::optional<Operator> comparison =
        token_.kind == Token::Kind::symbol ? ComparisonOf(token_.source) : std::nullopt;
    if (!comparison.has_value()) return left;
    TRACKBED_RETURN_IF_ERROR(Advance());
    TRACKBED_ASSIGN_OR_RETURN(Node right, ParseUnary());
    if (token_.kind == Token::Kind::symbol && ComparisonOf(token_.source).has_value()) {
      return lexer_.ErrorAt(token_.offset, "comparisons do not chain; join them with \"and\"");
    }
    Node node;
    node.kind = Kind::comparison;
    node.place = place;
    node.comparison = *comparison;
    node.children.push_back(std::move(left));
    node.children.push_back(std::move(right));
    return node;
  }

  // The token is "in".
  StatusOr<Node> ParseMembership(Node needle, TextPlace place) {
    Node node;
    node.kind = Kind::membership;
    node.place = place;
    node.children.push_back(std::move(needle));
    TRACKBED_RETURN_IF_ERROR(Advance());
    if (!At("[")) return Unexpected("a list such as [1, 2]");
    TRACKBED_RETURN_IF_ERROR(Advance());
    while (!At("]")) {
      TRACKBED_ASSIGN_OR_RETURN(Node element, ParseOr());
      node.children.push_back(std::move(element));
      if (At("]")) break;
      if (!At(",")) return Unexpected("\",\" or \"]\"");
      TRACKBED_RETURN_IF_ERROR(Advance());
    }
    TRACKBED_RETURN_IF_ERROR(Advance());
    return node;
  }

  StatusOr<Node> ParsePrimary() {
    if (At("(")) {
      TRACKBED_RETURN_IF_ERROR(Advance());
      TRACKBED_ASSIGN_OR_RETURN(Node inner, ParseOr());
      if (!At(")")) return Unexpected("an operator or \")\"");
      TRACKBED_RETURN_IF_ERROR(Advance());
      return inner;
    }
    if (At("[")) return lexer_.ErrorAt(token_.offset, "a list stands only after \"in\"");
    Node node;
    node.place = lexer_.PlaceOf(token_);
    if (token_.kind == Token::Kind::text) {
      node.literal = Unquoted();
    } else if (token_.kind == Token::Kind::number) {
      TRACKBED_ASSIGN_OR_RETURN(node.literal, Number());
    } else if (At("true") || At("false")) {
      node.literal = At("true");
    } else if (token_.kind == Token::Kind::name && !AtKeyword()) {
      const bool alone = token_.source == "item" || token_.source == "items";
      if (!alone && token_.source.find('.') == std::string_view::npos) {
        return Unexpected("a name such as params." + std::string(token_.source) +
                          ", or a text in quotes");
      }
      node.kind = Kind::reference;
      node.reference = SplitReference(token_.source);
    } else {
      return Unexpected("a value");
    }
    TRACKBED_RETURN_IF_ERROR(Advance());
    return node;
  }

  std::string Unquoted() const {
    const std::string_view inside = token_.source.substr(1, token_.source.size() - 2);
    std::string text;
    for (size_t i = 0; i < inside.size(); ++i) {
      text += inside[i];
      if (inside[i] == token_.source.front()) ++i;  // the second of a doubled quote
    }
    return text;
  }

  StatusOr<Value> Number() const {
    const char* const begin = token_.source.data();
    const char* const end = begin + token_.source.size();
    std::errc error{};
    Value value;
    if (token_.source.find_first_of(".eE") == std::string_view::npos) {
      int64_t integer = 0;
      error = std::from_chars(begin, end, integer).ec;
      value = integer;
    } else {
      double number = 0;
      error = std::from_chars(begin, end, number).ec;
      value = number;
    }
    if (error == std::errc()) return value;
    return lexer_.ErrorAt(token_.offset,
                          "the number " + std::string(token_.source) + " is out of range");
  }

  Lexer lexer_;
  std::string_view end_name_;
  size_t length_;
  Token token_;
  int depth_ = 0;
};

Status ErrorAt(const Node& node, std::string_view message) {
  return InvalidArgument(node.place.ToString() + ": " + std::string(message));
}

std::string_view WithArticle(const Value& value) {
  switch (TypeOf(value)) {
    case ValueType::string:
      return "a text";
    case ValueType::number:
      return "a number";
    case ValueType::integer:
      return "an integer";
    case ValueType::boolean:
      return "a boolean";
  }
  return "";
}

// Exact for all values: the integer is never rounded to a double.
std::partial_ordering CompareExactly(int64_t integer, double number) {
  constexpr double kTwoTo63 = 9223372036854775808.0;
  if (std::isnan(number)) return std::partial_ordering::unordered;
  if (number >= kTwoTo63) return std::partial_ordering::less;
  if (number < -kTwoTo63) return std::partial_ordering::greater;
  const double whole = std::trunc(number);
  const auto whole_integer = static_cast<int64_t>(whole);
  if (integer != whole_integer) return integer <=> whole_integer;
  return 0.0 <=> number - whole;
}

std::partial_ordering Reverse(std::partial_ordering order) { return 0 <=> order; }

// None when the two are of kinds that do not compare.
std::optional<std::partial_ordering> Compare(const Value& left, const Value& right) {
  if (left.index() == right.index()) {
    return std::visit(
        [&right](const auto& value) -> std::partial_ordering {
          return value <=> std::get<std::decay_t<decltype(value)>>(right);
        },
        left);
  }
  const auto* left_integer = std::get_if<int64_t>(&left);
  const auto* right_integer = std::get_if<int64_t>(&right);
  const auto* left_number = std::get_if<double>(&left);
  const auto* right_number = std::get_if<double>(&right);
  if (left_integer != nullptr && right_number != nullptr) {
    return CompareExactly(*left_integer, *right_number);
  }
  if (left_number != nullptr && right_integer != nullptr) {
    return Reverse(CompareExactly(*right_integer, *left_number));
  }
  return std::nullopt;
}

bool Holds(Operator comparison, std::partial_ordering order) {
  switch (comparison) {
    case Operator::equal:
      return order == 0;
    case Operator::not_equal:
      return order != 0;
    case Operator::less:
      return order < 0;
    case Operator::less_equal:
      return order <= 0;
    case Operator::greater:
      return order > 0;
    case Operator::greater_equal:
      return order >= 0;
  }
  return false;
}

class Evaluator {
 public:
  explicit Evaluator(const Resolver& resolver) : resolver_(resolver) {}

  StatusOr<Value> Evaluate(const Node& node) const {
    switch (node.kind) {
      case Kind::literal:
        return node.literal;
      case Kind::reference:
        if (!resolver_) return ErrorAt(node, "there is no " + node.reference.ToString() + " here");
        return resolver_(node.reference);
      case Kind::all:
        return EvaluateChain(node, false);
      case Kind::any:
        return EvaluateChain(node, true);
      case Kind::negation: {
        TRACKBED_ASSIGN_OR_RETURN(const bool inner, EvaluateBoolean(node.children.front()));
        return Value(!inner);
      }
      case Kind::comparison:
        return EvaluateComparison(node);
      case Kind::membership:
        return EvaluateMembership(node);
    }
    return Internal("an expression of unknown kind");
  }

  StatusOr<bool> EvaluateBoolean(const Node& node) const {
    TRACKBED_ASSIGN_OR_RETURN(const Value value, Evaluate(node));
    if (const bool* boolean = std::get_if<bool>(&value)) return *boolean;
    return ErrorAt(node, "found " + std::string(WithArticle(value)) + ", expected true or false");
  }

 private:
  // Stops at the first operand that decides: later ones may refer to what is not there.
  StatusOr<Value> EvaluateChain(const Node& node, bool deciding) const {
    for (const Node& child : node.children) {
      TRACKBED_ASSIGN_OR_RETURN(const bool value, EvaluateBoolean(child));
      if (value == deciding) return Value(deciding);
    }
    return Value(!deciding);
  }

  static Status CannotCompare(const Node& node, const Value& left, const Value& right) {
    return ErrorAt(node, "cannot compare " + std::string(WithArticle(left)) + " with " +
                             std::string(WithArticle(right)));
  }

  StatusOr<Value> EvaluateComparison(const Node& node) const {
    TRACKBED_ASSIGN_OR_RETURN(const Value left, Evaluate(node.children[0]));
    TRACKBED_ASSIGN_OR_RETURN(const Value right, Evaluate(node.children[1]));
    const std::optional<std::partial_ordering> order = Compare(left, right);
    if (!order.has_value()) return CannotCompare(node, left, right);
    const bool ordering =
        node.comparison != Operator::equal && node.comparison != Operator::not_equal;
    if (ordering && std::holds_alternative<bool>(left)) {
      return ErrorAt(node, "booleans have no order; use == or !=");
    }
    return Value(Holds(node.comparison, *order));
  }

  // Looks at every element, so that a mistake shows whatever the value is.
  StatusOr<Value> EvaluateMembership(const Node& node) const {
    TRACKBED_ASSIGN_OR_RETURN(const Value needle, Evaluate(node.children.front()));
    bool found = false;
    for (size_t i = 1; i < node.children.size(); ++i) {
      TRACKBED_ASSIGN_OR_RETURN(const Value element, Evaluate(node.children[i]));
      const std::optional<std::partial_ordering> order = Compare(needle, element);
      if (!order.has_value()) return CannotCompare(node.children[i], needle, element);
      found = found || *order == 0;
    }
    return Value(found);
  }

  const Resolver& resolver_;
};

void CollectReferences(const Node& node, std::vector<Reference>* references) {
  if (node.kind == Kind::reference) references->push_back(node.reference);
  for (const Node& child : node.children) CollectReferences(child, references);
}

}  // namespace

std::string Reference::ToString() const {
  std::string text;
  for (const std::string& part : parts) {
    if (!text.empty()) text += '.';
    text += part;
  }
  return text;
}

StatusOr<Expression> Expression::Parse(std::string_view text) {
  TextPlaces places(text);
  TRACKBED_ASSIGN_OR_RETURN(Node node, Parser(text, 0, text.size(), "the end", &places).Parse());
  return Expression(std::make_shared<const Node>(std::move(node)));
}

StatusOr<Value> Expression::Evaluate(const Resolver& resolver) const {
  return Evaluator(resolver).Evaluate(*root_);
}

StatusOr<bool> Expression::EvaluateCondition(const Resolver& resolver) const {
  return Evaluator(resolver).EvaluateBoolean(*root_);
}

std::vector<Reference> Expression::References() const {
  std::vector<Reference> references;
  CollectReferences(*root_, &references);
  return references;
}

StatusOr<Template> Template::Parse(std::string_view text) {
  TRACKBED_ASSIGN_OR_RETURN(std::vector<TemplatePart> pieces, SplitTemplate(text));
  TextPlaces places(text);
  Template result;
  std::string literal;
  for (TemplatePart& piece : pieces) {
    if (!piece.is_expression) {
      literal = std::move(piece.text);
      continue;
    }
    TRACKBED_ASSIGN_OR_RETURN(Node node,
                              Parser(text, piece.begin, piece.end, "\"}}\"", &places).Parse());
    result.parts_.push_back(
        {std::exchange(literal, ""),
         std::make_shared<Expression>(Expression(std::make_shared<const Node>(std::move(node))))});
  }
  if (!literal.empty()) result.parts_.push_back({std::move(literal), nullptr});
  return result;
}

StatusOr<std::string> Template::Render(const Resolver& resolver, Quoting quoting) const {
  std::string result;
  for (const Part& part : parts_) {
    result += part.text;
    if (part.expression == nullptr) continue;
    TRACKBED_ASSIGN_OR_RETURN(const Value value, part.expression->Evaluate(resolver));
    const std::string text = ToText(value);
    if (text.find('\0') != std::string::npos) {
      return ErrorAt(*part.expression->root_, "found a value with a NUL byte");
    }
    result += quoting == Quoting::shell ? QuoteShellWord(text) : text;
  }
  return result;
}

std::vector<Reference> Template::References() const {
  std::vector<Reference> references;
  for (const Part& part : parts_) {
    if (part.expression != nullptr) CollectReferences(*part.expression->root_, &references);
  }
  return references;
}

}  // namespace trackbed
