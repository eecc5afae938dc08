// What the tests of the program share: one engine of tales-16m, a private cache, a folder for outputs.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "process.h"

namespace lathe::testing {

// The model's directory in the repository, else under ../shared; empty when neither is there.
std::string TalesModel();

class CliTest : public ::testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  // Runs `lathe ARGS...` with the private cache.
  ProcessResult Lathe(std::vector<std::string> args, ProcessOptions options = {}) const;
  std::vector<std::string> Environment() const;
  std::vector<std::string> Program(std::vector<std::string> args) const;

  // An engine of tales-16m, built once for the whole test program. Not to be written to.
  static const std::string& Engine();

  // A new, empty folder for this test.
  const std::string& dir() const { return dir_; }
  // Names of what lies in dir() now, sorted.
  std::vector<std::string> Files() const;

 private:
  std::string dir_;
};

// A fault: exit 1, nothing on stdout, one line "lathe: ..." on stderr that holds `part`.
void ExpectFault(const ProcessResult& result, const std::string& part);
// A usage fault: exit 2, nothing on stdout, `part` on stderr after "lathe: ".
void ExpectUsage(const ProcessResult& result, const std::string& part);

std::string ReadWhole(const std::string& path);
void WriteWhole(const std::string& path, const std::string& content);

}  // namespace lathe::testing
