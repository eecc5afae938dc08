#include "terminal/table.h"

#include <algorithm>

#include "base/check.h"
#include "terminal/terminal.h"

namespace lathe::cli {

void Table::AddRow(std::vector<std::string> cells) {
  LATHE_CHECK_LE(cells.size(), columns_.size());
  cells.resize(columns_.size());
  for (std::string& cell : cells) cell = Printable(cell);
  rows_.push_back(std::move(cells));
}

std::string Table::RenderRow(const std::vector<std::string>& cells, const std::vector<size_t>& widths,
                             size_t indent) const {
  std::string line(indent, ' ');
  for (size_t i = 0; i < cells.size(); ++i) {
    if (i > 0) line += "  ";
    const size_t used = DisplayWidth(cells[i]);
    const std::string pad(widths[i] - std::min(used, widths[i]), ' ');
    line += columns_[i].align == Align::kRight ? pad + cells[i] : cells[i] + pad;
  }
  line.erase(line.find_last_not_of(' ') + 1);
  return line + "\n";
}

std::string Table::Render(size_t indent) const {
  std::vector<std::string> heads;
  std::vector<size_t> widths;
  bool has_head = false;
  for (const Column& column : columns_) {
    heads.push_back(column.head);
    widths.push_back(DisplayWidth(column.head));
    has_head = has_head || !column.head.empty();
  }
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], DisplayWidth(row[i]));
  }
  std::string out;
  if (has_head) {
    out += RenderRow(heads, widths, indent);
    std::vector<std::string> rules;
    for (const size_t width : widths) rules.emplace_back(width, '-');
    out += RenderRow(rules, widths, indent);
  }
  for (const auto& row : rows_) out += RenderRow(row, widths, indent);
  return out;
}

}  // namespace lathe::cli
