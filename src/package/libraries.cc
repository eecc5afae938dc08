#include "package/libraries.h"

#include <algorithm>
#include <deque>
#include <filesystem>
#include <map>

#include "base/file.h"
#include "package/elf.h"

namespace lathe::package {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxLibraries = 256;
// Where a library goes that is found by this machine's settings alone (LD_LIBRARY_PATH).
constexpr char kLibraryFolder[] = "/usr/lib";

// A folder to look in, and the folder of the image that stands for it.
struct Folder {
  std::string host, image;
};

// A program or library whose needs are being looked up.
struct Object {
  std::string name;
  ElfInfo elf;
  std::string host_folder, image_folder;
};

std::vector<std::string> Split(const std::string& text) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(':', begin), text.size());
    if (end > begin) parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

std::string WithOrigin(std::string entry, const std::string& origin) {
  for (const char* word : {"${ORIGIN}", "$ORIGIN"}) {
    for (size_t at; (at = entry.find(word)) != std::string::npos;) {
      entry.replace(at, std::string_view(word).size(), origin);
    }
  }
  std::string folder = fs::path(entry).lexically_normal().string();
  if (folder.size() > 1 && folder.back() == '/') folder.pop_back();
  return folder;
}

std::vector<Folder> RunPath(const Object& object) {
  std::vector<Folder> folders;
  for (const std::string& entry : Split(object.elf.runpath.empty() ? object.elf.rpath : object.elf.runpath)) {
    folders.push_back({WithOrigin(entry, object.host_folder), WithOrigin(entry, object.image_folder)});
  }
  return folders;
}

std::string RealFolder(const std::string& path) {
  std::error_code ec;
  const fs::path real = fs::canonical(path, ec);
  return ec ? fs::path(path).parent_path().string() : real.parent_path().string();
}

class Finder {
 public:
  Finder(const std::string& interpreter, const std::string& library_path, std::string architecture)
      : architecture_(std::move(architecture)) {
    for (const std::string& entry : Split(library_path)) library_path_.push_back(entry);
    // The loader's own folder is where its libc is, on every distribution.
    for (const std::string& folder :
         {RealFolder(interpreter), std::string("/lib64"), std::string("/usr/lib64"), std::string("/lib"),
          std::string("/usr/lib")}) {
      system_.push_back({folder, folder});
    }
  }

  Expected<LibraryFile> Find(const std::string& soname, const Object& object) const {
    if (soname.find('/') != std::string::npos)
      return Error(StatusCode::kUnsupported, "%s needs %s by a path, which cannot be packaged",
                   object.name.c_str(), soname.c_str());
    const std::vector<Folder> run_path = RunPath(object);
    for (const Folder& folder : run_path) {
      if (!Usable(folder.host, soname)) continue;
      // Out of the program's own folder, where there is a better place that is searched too.
      const bool beside = folder.image == object.image_folder && Reaches(run_path, kLibraryFolder);
      return Found(soname, folder.host, beside ? kLibraryFolder : folder.image);
    }
    for (const std::string& folder : library_path_) {
      if (!Usable(folder, soname)) continue;
      if (Reaches(run_path, kLibraryFolder)) return Found(soname, folder, kLibraryFolder);
      return Error(StatusCode::kUnsupported,
                   "%s finds %s only because LD_LIBRARY_PATH names %s; link it with the run path "
                   "$ORIGIN/../lib, or package what 'make portable' makes (--program)",
                   object.name.c_str(), soname.c_str(), folder.c_str());
    }
    for (const Folder& folder : system_) {
      if (Usable(folder.host, soname)) return Found(soname, folder.host, folder.image);
    }
    return Error(StatusCode::kNotFound,
                 "%s needs %s, which is not on this machine; install it, or name its folder in "
                 "LD_LIBRARY_PATH",
                 object.name.c_str(), soname.c_str());
  }

 private:
  static bool Reaches(const std::vector<Folder>& folders, const std::string& image) {
    return std::any_of(folders.begin(), folders.end(),
                       [&](const Folder& folder) { return folder.image == image; });
  }
  static LibraryFile Found(const std::string& soname, const std::string& host, const std::string& image) {
    return {soname, host + "/" + soname, image + "/" + soname};
  }
  // The loader, too, passes over libraries of other machines.
  bool Usable(const std::string& folder, const std::string& soname) const {
    const std::string path = folder + "/" + soname;
    if (!FileExists(path)) return false;
    const auto elf = ReadElf(path);
    return elf.ok() && elf->architecture == architecture_;
  }

  std::string architecture_;
  std::vector<std::string> library_path_;
  std::vector<Folder> system_;
};

}  // namespace

Expected<ProgramFiles> FindLibraries(const std::string& program, const std::string& image_path,
                                     const std::string& library_path) {
  Object root{program, {}, RealFolder(program), fs::path(image_path).parent_path().string()};
  LATHE_ASSIGN_OR_RETURN(root.elf, ReadElf(program));
  if (root.elf.interpreter.empty())
    return Error(StatusCode::kUnsupported,
                 "'%s' names no loader, so it is no dynamically linked program; --program wants a lathe",
                 program.c_str());
  ProgramFiles out;
  out.architecture = root.elf.architecture;
  const std::string loader = fs::path(root.elf.interpreter).filename().string();
  out.interpreter = {loader, root.elf.interpreter, root.elf.interpreter};
  if (!FileExists(root.elf.interpreter))
    return Error(StatusCode::kNotFound, "'%s' needs the loader %s, which is not on this machine",
                 program.c_str(), root.elf.interpreter.c_str());
  const Finder finder(root.elf.interpreter, library_path, out.architecture);
  std::map<std::string, LibraryFile> found;
  std::deque<Object> queue{root};
  while (!queue.empty()) {
    const Object object = std::move(queue.front());
    queue.pop_front();
    for (const std::string& soname : object.elf.needed) {
      if (soname == loader || found.contains(soname)) continue;
      if (found.size() == kMaxLibraries)
        return Error(StatusCode::kUnsupported, "'%s' needs more than %zu libraries", program.c_str(),
                     kMaxLibraries);
      LATHE_ASSIGN_OR_RETURN(const LibraryFile library, finder.Find(soname, object));
      Object next{
          soname, {}, RealFolder(library.host_path), fs::path(library.image_path).parent_path().string()};
      LATHE_ASSIGN_OR_RETURN(next.elf, ReadElf(library.host_path));
      found.emplace(soname, library);
      queue.push_back(std::move(next));
    }
  }
  for (auto& [soname, library] : found) out.libraries.push_back(std::move(library));
  return out;
}

}  // namespace lathe::package
