// Writes YAML line by line, in block style.
//
// yaml-cpp's emitter cannot write a block of text without a line break at its end ("|-"), which is
// what scripts mostly are, and spoils the indentation after one that has it.
#pragma once

#include <string>
#include <string_view>

namespace trackbed {

// Calls must nest: every Open… has its Close. The document is a map, open from the start.
class YamlLines {
 public:
  // A text, quoted or as a block where it has to be, so that every reader takes it for a text.
  void Text(std::string_view key, std::string_view text);
  // A number or a word, as it is.
  void Raw(std::string_view key, std::string_view text);
  void OpenMap(std::string_view key);
  void CloseMap() { Close(" {}", 2); }

  void OpenList(std::string_view key);
  void CloseList() { Close(" []", 0); }
  // Within a list.
  void TextItem(std::string_view text);
  void RawItem(std::string_view text);
  void OpenItem();  // a map, which must not stay empty
  void CloseItem() { indent_ -= 2; }

  const std::string& text() const { return text_; }

 private:
  void BeginLine();
  void WriteKey(std::string_view key);
  void WriteText(std::string_view text);
  void Close(std::string_view empty, size_t indent);

  std::string text_;
  size_t indent_ = 0;
  bool dash_ = false;        // the next line begins an item
  bool open_empty_ = false;  // the last line is "key:" of a map or list without children so far
};

}  // namespace trackbed
