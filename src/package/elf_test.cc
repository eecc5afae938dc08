#include "package/elf.h"

#include <elf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/file.h"
#include "base/rng.h"
#include "package/libraries.h"

namespace lathe::package {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A program of one segment with a dynamic section, as a linker would make it.
struct Made {
  Elf64_Ehdr header{};
  Elf64_Phdr segments[3]{};
  Elf64_Dyn dynamic[8]{};
  char strings[128]{};
  char interpreter[32]{};

  explicit Made(const std::vector<std::string>& needed = {"libone.so.1", "libc.so.6"},
                const std::string& runpath = "$ORIGIN/../lib") {
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_type = ET_DYN;
    header.e_machine = EM_X86_64;
    header.e_phoff = offsetof(Made, segments);
    header.e_phentsize = sizeof(Elf64_Phdr);
    header.e_phnum = 3;
    constexpr uint64_t kBase = 0x400000;
    segments[0].p_type = PT_LOAD;
    segments[0].p_vaddr = kBase;
    segments[0].p_filesz = sizeof(Made);
    segments[1].p_type = PT_INTERP;
    segments[1].p_offset = offsetof(Made, interpreter);
    segments[1].p_filesz = sizeof interpreter;
    std::strcpy(interpreter, "/lib64/ld-linux-x86-64.so.2");
    segments[2].p_type = PT_DYNAMIC;
    segments[2].p_offset = offsetof(Made, dynamic);
    segments[2].p_filesz = sizeof dynamic;
    size_t at = 1, entry = 0;
    const auto add = [&](int64_t tag, const std::string& text) {
      dynamic[entry].d_tag = tag;
      dynamic[entry++].d_un.d_val = at;
      std::strcpy(strings + at, text.c_str());
      at += text.size() + 1;
    };
    for (const std::string& name : needed) add(DT_NEEDED, name);
    if (!runpath.empty()) add(DT_RUNPATH, runpath);
    dynamic[entry].d_tag = DT_STRTAB;
    dynamic[entry++].d_un.d_ptr = kBase + offsetof(Made, strings);
    dynamic[entry].d_tag = DT_STRSZ;
    dynamic[entry].d_un.d_val = at;
  }

  std::span<const std::byte> bytes() const { return std::as_bytes(std::span(this, 1)); }
};

TEST(Elf, WhatTheLoaderReads) {
  const Made made;
  const auto elf = ParseElf(made.bytes(), "made");
  ASSERT_TRUE(elf.ok()) << elf.status().message();
  EXPECT_EQ(elf->architecture, "amd64");
  EXPECT_EQ(elf->interpreter, "/lib64/ld-linux-x86-64.so.2");
  EXPECT_THAT(elf->needed, ElementsAre("libone.so.1", "libc.so.6"));
  EXPECT_EQ(elf->runpath, "$ORIGIN/../lib");
  Made arm;
  arm.header.e_machine = EM_AARCH64;
  EXPECT_EQ(ParseElf(arm.bytes(), "arm")->architecture, "arm64");
}

TEST(Elf, ThisTestItself) {
  const auto elf = ReadElf("/proc/self/exe");
  ASSERT_TRUE(elf.ok()) << elf.status().message();
  EXPECT_THAT(elf->interpreter, HasSubstr("ld-linux"));
  EXPECT_THAT(elf->needed, Contains("libc.so.6"));
}

TEST(Elf, HostileFiles) {
  struct Case {
    const char* name;
    void (*spoil)(Made*);
    StatusCode code;
    const char* says;
  };
  const Case cases[] = {
      {"magic", [](Made* m) { m->header.e_ident[1] = 'X'; }, StatusCode::kCorrupt, "begins with other bytes"},
      {"32 bits", [](Made* m) { m->header.e_ident[EI_CLASS] = ELFCLASS32; }, StatusCode::kUnsupported,
       "64-bit"},
      {"big-endian", [](Made* m) { m->header.e_ident[EI_DATA] = ELFDATA2MSB; }, StatusCode::kUnsupported,
       "little-endian"},
      {"object", [](Made* m) { m->header.e_type = ET_REL; }, StatusCode::kUnsupported, "neither a program"},
      {"sparc", [](Made* m) { m->header.e_machine = EM_SPARCV9; }, StatusCode::kUnsupported,
       "another processor"},
      {"segment size", [](Made* m) { m->header.e_phentsize = 1; }, StatusCode::kCorrupt, "odd size"},
      {"segments", [](Made* m) { m->header.e_phnum = 65535; }, StatusCode::kCorrupt, "odd size"},
      {"table beyond", [](Made* m) { m->header.e_phoff = UINT64_MAX - 8; }, StatusCode::kCorrupt, "cut off"},
      {"table at the end", [](Made* m) { m->header.e_phoff = sizeof(Made) - 8; }, StatusCode::kCorrupt,
       "cut off"},
      {"interpreter beyond", [](Made* m) { m->segments[1].p_offset = UINT64_MAX - 4; }, StatusCode::kCorrupt,
       "outside"},
      {"interpreter endless", [](Made* m) { std::memset(m->interpreter, 'a', sizeof m->interpreter); },
       StatusCode::kCorrupt, "no end"},
      {"dynamic beyond", [](Made* m) { m->segments[2].p_offset = UINT64_MAX - 4; }, StatusCode::kCorrupt,
       "odd size"},
      {"dynamic huge", [](Made* m) { m->segments[2].p_filesz = UINT64_MAX; }, StatusCode::kCorrupt,
       "odd size"},
      {"dynamic cut", [](Made* m) { m->segments[2].p_offset = sizeof(Made) - 20; }, StatusCode::kCorrupt,
       "cut off"},
      {"no string table", [](Made* m) { m->dynamic[3].d_un.d_ptr = 0; }, StatusCode::kCorrupt,
       "in no segment"},
      {"strings far", [](Made* m) { m->dynamic[4].d_un.d_val = UINT64_MAX; }, StatusCode::kCorrupt,
       "odd size"},
      {"strings too long", [](Made* m) { m->dynamic[4].d_un.d_val = 1 << 20; }, StatusCode::kCorrupt,
       "outside"},
      {"name beyond", [](Made* m) { m->dynamic[0].d_un.d_val = 1 << 20; }, StatusCode::kCorrupt, "outside"},
      {"name wraps", [](Made* m) { m->dynamic[0].d_un.d_val = UINT64_MAX; }, StatusCode::kCorrupt, "outside"},
      {"segment wraps", [](Made* m) { m->segments[0].p_offset = UINT64_MAX - 1; }, StatusCode::kCorrupt,
       "in no segment"},
  };
  for (const Case& c : cases) {
    Made made;
    c.spoil(&made);
    const auto elf = ParseElf(made.bytes(), "spoilt");
    ASSERT_FALSE(elf.ok()) << c.name;
    EXPECT_EQ(elf.status().code(), c.code) << c.name << ": " << elf.status().message();
    EXPECT_THAT(elf.status().message(), HasSubstr(c.says)) << c.name;
    EXPECT_THAT(elf.status().message(), HasSubstr("'spoilt'")) << c.name;
  }
}

// Cut anywhere, and with any bytes anywhere: an answer, never a crash (run under the sanitizers too).
TEST(Elf, AnyBytes) {
  const Made made;
  for (size_t size = 0; size < sizeof(Made); ++size) (void)ParseElf(made.bytes().first(size), "cut").ok();
  Rng rng(7);
  int whole = 0;
  for (int round = 0; round < 20000; ++round) {
    Made spoilt;
    auto* bytes = reinterpret_cast<unsigned char*>(&spoilt);
    const uint64_t changes = 1 + rng.Next() % 4;
    for (uint64_t i = 0; i < changes; ++i) {
      bytes[rng.Next() % sizeof(Made)] = rng.Next() % 2 ? 0xff : static_cast<unsigned char>(rng.Next());
    }
    whole += ParseElf(spoilt.bytes(), "spoilt").ok();
  }
  EXPECT_GT(whole, 0);
  EXPECT_LT(whole, 20000);
}

// The files made here are for x86-64.
bool HasLoader() {
  const bool here = FileExists("/lib64/ld-linux-x86-64.so.2");
  if (!here) std::puts("no x86-64 loader on this machine: not tried");
  return here;
}

class Libraries : public ::testing::Test {
 protected:
  Libraries() {
    root_ = fs::temp_directory_path() / ("lathe_libraries_" + std::to_string(::getpid()));
    fs::remove_all(root_);
  }
  ~Libraries() override { fs::remove_all(root_); }
  std::string Write(const std::string& name, const Made& made) {
    const fs::path path = root_ / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(&made), sizeof made);
    return path.string();
  }
  fs::path root_;
};

TEST_F(Libraries, BesideTheProgramAndFromTheSystem) {
  if (!HasLoader()) return;
  const std::string program = Write("bin/p", Made({"libone.so.1", "libc.so.6"}, "$ORIGIN:$ORIGIN/../lib"));
  Write("bin/libone.so.1", Made({"libtwo.so.2"}, "$ORIGIN/more"));
  Write("bin/more/libtwo.so.2", Made({}, ""));
  const auto files = FindLibraries(program, "/usr/bin/lathe", "");
  ASSERT_TRUE(files.ok()) << files.status().message();
  EXPECT_EQ(files->architecture, "amd64");
  EXPECT_EQ(files->interpreter.image_path, "/lib64/ld-linux-x86-64.so.2");
  ASSERT_EQ(files->libraries.size(), 3u);
  // The loader of the system finds its libc where it is; the rest is found relative to who needs it.
  EXPECT_EQ(files->libraries[0].soname, "libc.so.6");
  EXPECT_EQ(files->libraries[0].image_path, files->libraries[0].host_path);
  EXPECT_EQ(files->libraries[1].image_path, "/usr/lib/libone.so.1");
  EXPECT_EQ(files->libraries[2].image_path, "/usr/lib/more/libtwo.so.2");
  EXPECT_EQ(files->libraries[2].host_path, fs::canonical(root_).string() + "/bin/more/libtwo.so.2");
}

TEST_F(Libraries, WhatIsMissingIsNamed) {
  if (!HasLoader()) return;
  const std::string program = Write("bin/p", Made({"libnowhere.so.9"}));
  const auto files = FindLibraries(program, "/usr/bin/lathe", "");
  EXPECT_EQ(files.status().code(), StatusCode::kNotFound);
  EXPECT_THAT(files.status().message(), HasSubstr("libnowhere.so.9"));
  // A library of another machine is passed over, as the loader does.
  Made arm({}, "");
  arm.header.e_machine = EM_AARCH64;
  Write("lib/libnowhere.so.9", arm);
  EXPECT_EQ(FindLibraries(program, "/usr/bin/lathe", "").status().code(), StatusCode::kNotFound);
  // Found by LD_LIBRARY_PATH, it goes where the program looks.
  Write("elsewhere/libnowhere.so.9", Made({}, ""));
  const auto found = FindLibraries(program, "/usr/bin/lathe", (root_ / "elsewhere").string());
  ASSERT_TRUE(found.ok()) << found.status().message();
  EXPECT_EQ(found->libraries[0].image_path, "/usr/lib/libnowhere.so.9");
  // Where the program looks nowhere, that would not do.
  const std::string blind = Write("bin/q", Made({"libnowhere.so.9"}, ""));
  EXPECT_EQ(FindLibraries(blind, "/usr/bin/lathe", (root_ / "elsewhere").string()).status().code(),
            StatusCode::kUnsupported);
}

TEST_F(Libraries, ProgramsThatAreNone) {
  Made no_loader;
  no_loader.segments[1].p_type = PT_NOTE;
  EXPECT_THAT(FindLibraries(Write("a", no_loader), "/usr/bin/lathe", "").status().message(),
              HasSubstr("no loader"));
  EXPECT_THAT(FindLibraries(Write("b", Made({"./x.so"})), "/usr/bin/lathe", "").status().message(),
              HasSubstr("by a path"));
  EXPECT_EQ(FindLibraries((root_ / "missing").string(), "/usr/bin/lathe", "").status().code(),
            StatusCode::kNotFound);
}

}  // namespace
}  // namespace lathe::package
