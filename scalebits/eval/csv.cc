// SPDX-License-Identifier: Apache-2.0
#include "scalebits/eval/csv.h"

#include "scalebits/base/errors.h"
#include "scalebits/io/text.h"

namespace scalebits {
namespace {

class Parser {
 public:
  Parser(std::string_view text, const std::string& where) : text_(text), where_(where) {}

  std::vector<CsvRow> rows() {
    std::vector<CsvRow> rows;
    while (at_ < text_.size()) {
      CsvRow row = next_row();
      if (row.fields.size() > 1 || !row.fields.front().empty()) rows.push_back(std::move(row));
    }
    return rows;
  }

 private:
  [[nodiscard]] bool at_line_end() const {
    return at_ == text_.size() || text_[at_] == '\n' || text_.substr(at_, 2) == "\r\n";
  }

  CsvRow next_row() {
    CsvRow row{.fields = {}, .line = line_};
    for (;;) {
      row.fields.push_back(at_ < text_.size() && text_[at_] == '"' ? quoted() : plain());
      if (at_line_end()) break;
      ++at_;  // the comma
    }
    if (at_ < text_.size()) {
      at_ = text_.find('\n', at_) + 1;
      ++line_;
    }
    return row;
  }

  std::string plain() {
    const size_t begin = at_;
    while (!at_line_end() && text_[at_] != ',') ++at_;
    return std::string(text_.substr(begin, at_ - begin));
  }

  std::string quoted() {
    const int64_t opened = line_;
    std::string field;
    for (++at_;; ++at_) {
      if (at_ == text_.size()) {
        fail<FormatError>(where_, "line {}: got a quote that is not closed before the end of the file.", opened);
      }
      if (text_[at_] == '\n') ++line_;
      if (text_[at_] == '"') {
        if (text_.substr(at_ + 1, 1) != "\"") break;
        ++at_;
      }
      field += text_[at_];
    }
    ++at_;
    if (!at_line_end() && text_[at_] != ',') {
      fail<FormatError>(where_, "line {}: got {} behind a closing quote, expected a comma or the line's end.", line_,
                        quote(text_.substr(at_, 10)));
    }
    return field;
  }

  std::string_view text_;
  const std::string& where_;
  size_t at_ = 0;
  int64_t line_ = 1;
};

}  // namespace

std::vector<CsvRow> parse_csv(std::string_view text, const std::string& where) { return Parser(text, where).rows(); }

}  // namespace scalebits
