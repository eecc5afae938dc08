// A table of text: columns as wide as their widest cell, a thin rule under the head.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace lathe::cli {

enum class Align { kLeft, kRight };

class Table {
 public:
  // Columns with a head of "" in all of them print no head.
  struct Column {
    std::string head;
    Align align = Align::kLeft;
  };
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // Fewer cells than columns leave the rest empty. Control characters are shown escaped.
  void AddRow(std::vector<std::string> cells);

  // Lines ending in '\n', without trailing blanks; every line starts with `indent` blanks.
  std::string Render(size_t indent = 0) const;

 private:
  std::string RenderRow(const std::vector<std::string>& cells, const std::vector<size_t>& widths,
                        size_t indent) const;
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace lathe::cli
