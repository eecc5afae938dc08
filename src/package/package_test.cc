#include "package/package.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "base/file.h"
#include "base/sha.h"
#include "formats/engine_file.h"
#include "package/components.h"

namespace lathe::package {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

class Package : public ::testing::Test {
 protected:
  Package() {
    root_ = fs::temp_directory_path() / ("lathe_package_" + std::to_string(::getpid()));
    fs::remove_all(root_);
    fs::create_directories(root_);
  }
  ~Package() override { fs::remove_all(root_); }

  std::string Path(const std::string& name) const { return (root_ / name).string(); }

  // An engine of some kilobytes: what packaging reads of it is all there.
  std::string MakeEngine(const std::string& name, const std::string& target = "cpu:avx512",
                         const std::string& machine = "Some(R) CPU", int tp = 1) {
    const std::string path = Path(name);
    auto writer = EngineWriter::Create(path);
    EXPECT_TRUE(writer.ok());
    EXPECT_TRUE(writer->AddBlob("plan.tp0.pp0", "a plan").ok());
    EXPECT_TRUE(writer->AddBlob("weights.tp0.pp0", std::string(200000, 'w')).ok());
    EngineIdentity identity;
    identity.builder = "0.1.0";
    identity.target = target;
    identity.machine = machine;
    identity.model_name = "tales-16m";
    identity.model_hash = "8d1c";
    identity.dtype = "bf16";
    identity.numeric = "bf16-fma";
    identity.tp = tp;
    EXPECT_TRUE(writer->Finish(identity, Json::object(), Json::object()).ok());
    return path;
  }

  static PackageOptions Options(const std::string& engine, const std::string& output) {
    PackageOptions options;
    options.engine = engine;
    options.output = output;
    options.program = "/bin/sh";  // a small one
    return options;
  }

  // Of a model that is pulled; certificates are made up, for not every machine has some.
  PackageOptions Pulling(const std::string& output) const {
    std::ofstream(Path("ca.pem")) << "certificates";
    PackageOptions options = Options("", output);
    options.pull = "org/name";
    options.certificates = Path("ca.pem");
    return options;
  }

  static Json Read(const std::string& path) {
    auto json = ReadJsonFile(path);
    EXPECT_TRUE(json.ok()) << json.status().message();
    return json.ok() ? *json : Json();
  }
  static std::string BlobPath(const std::string& image, const Json& descriptor) {
    return image + "/blobs/sha256/" + descriptor["digest"].get<std::string>().substr(7);
  }
  static Json Manifest(const std::string& image) {
    return Read(BlobPath(image, Read(image + "/index.json")["manifests"][0]));
  }
  static Json Config(const std::string& image) { return Read(BlobPath(image, Manifest(image)["config"])); }

  // Names of everything beside the output: nothing may be left over.
  std::set<std::string> Names() const {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(root_)) names.insert(entry.path().filename());
    return names;
  }

  fs::path root_;
};

TEST_F(Package, LayoutIsWholeAndEveryDigestRight) {
  const std::string image = Path("image");
  uint64_t last = 0, total = 0;
  PackageOptions options = Options(MakeEngine("tales.lathe"), image);
  options.progress = [&](uint64_t done, uint64_t of) {
    EXPECT_GE(done, last);
    last = done;
    total = of;
  };
  const auto report = WritePackage(options);
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(last, total);
  EXPECT_EQ(report->target, "cpu:avx512");
  EXPECT_EQ(report->engine_for, "cpu:avx512, measured on Some(R) CPU");

  EXPECT_EQ(Read(image + "/oci-layout")["imageLayoutVersion"], "1.0.0");
  const Json index = Read(image + "/index.json");
  ASSERT_THAT(index["manifests"], SizeIs(1));
  const Json& top = index["manifests"][0];
  EXPECT_EQ(top["digest"], report->digest);
  EXPECT_EQ(top["annotations"]["org.opencontainers.image.ref.name"], "latest");
  EXPECT_EQ(top["platform"]["os"], "linux");
  const Json manifest = Manifest(image);
  EXPECT_EQ(manifest["mediaType"], "application/vnd.oci.image.manifest.v1+json");
  ASSERT_THAT(manifest["layers"], SizeIs(3));
  EXPECT_EQ(manifest["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
  EXPECT_EQ(manifest["layers"][1]["mediaType"], "application/vnd.oci.image.layer.v1.tar");

  // Every blob has the name of its content, its size in the manifest, and nothing else is there.
  std::set<std::string> wanted{top["digest"].get<std::string>().substr(7),
                               manifest["config"]["digest"].get<std::string>().substr(7)};
  for (const Json& layer : manifest["layers"]) {
    wanted.insert(layer["digest"].get<std::string>().substr(7));
    EXPECT_EQ(fs::file_size(BlobPath(image, layer)), layer["size"].get<uint64_t>());
  }
  std::set<std::string> found;
  for (const auto& entry : fs::directory_iterator(image + "/blobs/sha256")) {
    found.insert(entry.path().filename());
    EXPECT_EQ(Sha256Hex(*ReadFile(entry.path())), entry.path().filename().string());
  }
  EXPECT_EQ(found, wanted);
  EXPECT_EQ(Names(), (std::set<std::string>{"image", "tales.lathe"}));
}

TEST_F(Package, ConfigurationOfAnImage) {
  const std::string image = Path("image");
  PackageOptions options = Options(MakeEngine("my tales$.lathe"), image);
  options.port = 9000;
  options.environment = {{"LATHE_CONTEXT", "512"}, {"LATHE_HOST", "127.0.0.1"}};
  options.labels = {{"team", "b"}, {"org.opencontainers.image.title", "mine"}};
  options.epoch = 1700000000;
  options.tag = "v1";
  ASSERT_TRUE(WritePackage(options).ok());
  EXPECT_THAT(Read(image + "/index.json").dump(), HasSubstr("\"org.opencontainers.image.ref.name\":\"v1\""));
  EXPECT_EQ(Manifest(image)["annotations"]["lathe.engine.target"], "cpu:avx512");
  const Json config = Config(image);
  EXPECT_EQ(config["created"], "2023-11-14T22:13:20Z");
  EXPECT_EQ(config["os"], "linux");
  EXPECT_THAT(config["rootfs"]["diff_ids"], SizeIs(3));
  EXPECT_THAT(config["history"], SizeIs(3));
  const Json& run = config["config"];
  EXPECT_EQ(run["User"], "65532:65532");
  EXPECT_EQ(run["Entrypoint"], Json::array({"/usr/bin/lathe"}));
  EXPECT_EQ(run["Cmd"], Json::array({"serve"}));
  EXPECT_EQ(run["StopSignal"], "SIGTERM");
  EXPECT_TRUE(run["ExposedPorts"].contains("9000/tcp"));
  EXPECT_FALSE(run.contains("Volumes"));
  EXPECT_EQ(run["Healthcheck"]["Test"], Json::array({"CMD", "/usr/bin/lathe", "health"}));
  std::set<std::string> environment;
  for (const Json& entry : run["Env"]) environment.insert(entry);
  for (const char* entry :
       {"LATHE_MODEL=/models/my-tales-.lathe", "LATHE_PORT=9000", "LATHE_CONTEXT=512", "LATHE_HOST=127.0.0.1",
        "LATHE_MANAGEMENT_LISTEN=127.0.0.1:8001", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"}) {
    EXPECT_THAT(environment, Contains(entry));
  }
  for (const std::string& entry : environment) EXPECT_THAT(entry, Not(HasSubstr("NVIDIA")));
  EXPECT_EQ(run["Labels"]["team"], "b");
  EXPECT_EQ(run["Labels"]["org.opencontainers.image.title"], "mine");
  EXPECT_EQ(run["Labels"]["lathe.engine.model_hash"], "8d1c");
  EXPECT_EQ(run["Labels"]["lathe.engine.machine"], "Some(R) CPU");
}

TEST_F(Package, EnginesForGpusAskForTheDriver) {
  ASSERT_TRUE(WritePackage(Options(MakeEngine("m.lathe", "cuda:sm_90a", "NVIDIA H200"), Path("image"))).ok());
  EXPECT_THAT(
      Config(Path("image"))["config"]["Env"].dump(),
      AllOf(HasSubstr("NVIDIA_VISIBLE_DEVICES=all"), HasSubstr("NVIDIA_DRIVER_CAPABILITIES=compute,utility"),
            HasSubstr("LD_LIBRARY_PATH=/usr/local/nvidia/lib64:")));
}

TEST_F(Package, PullAtStart) {
  const auto report = WritePackage(Pulling(Path("image")));
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(report->engine_for, "");
  EXPECT_THAT(Manifest(Path("image"))["layers"], SizeIs(2));
  const Json run = Config(Path("image"))["config"];
  EXPECT_TRUE(run["Volumes"].contains("/cache"));
  EXPECT_THAT(run["Env"].dump(),
              AllOf(HasSubstr("LATHE_MODEL=org/name"), HasSubstr("XDG_CACHE_HOME=/cache")));
  EXPECT_EQ(run["Healthcheck"]["StartPeriod"], 1800'000'000'000);
}

TEST_F(Package, SameInputSameDigestWhereverAndWhenever) {
  const std::string first = MakeEngine("tales.lathe");
  const auto one = WritePackage(Options(first, Path("one")));
  ASSERT_TRUE(one.ok()) << one.status().message();
  // Another folder, time, umask and mode.
  fs::create_directories(Path("deep/er"));
  const std::string second = Path("deep/er/tales.lathe");
  fs::copy_file(first, second);
  fs::permissions(second, fs::perms::owner_read);
  fs::last_write_time(second, fs::file_time_type::clock::now() - std::chrono::hours(9999));
  const mode_t old = ::umask(0077);
  const auto two = WritePackage(Options(second, Path("deep/two")));
  ::umask(old);
  ASSERT_TRUE(two.ok()) << two.status().message();
  EXPECT_EQ(one->digest, two->digest);
  EXPECT_EQ(*ReadFile(Path("one/index.json")), *ReadFile(Path("deep/two/index.json")));
  EXPECT_EQ(*ReadFile(Path("one/sbom.spdx.json")), *ReadFile(Path("deep/two/sbom.spdx.json")));
  // What is said about it is part of it.
  PackageOptions labelled = Options(first, Path("three"));
  labelled.labels = {{"a", "b"}};
  EXPECT_NE(WritePackage(labelled)->digest, one->digest);
  PackageOptions later = Options(first, Path("four"));
  later.epoch = 1;
  EXPECT_NE(WritePackage(later)->digest, one->digest);
}

TEST_F(Package, BillOfMaterials) {
  const std::string engine = MakeEngine("tales.lathe");
  PackageOptions options = Options(engine, Path("image"));
  options.program = "";  // this one
  ASSERT_TRUE(WritePackage(options).ok());
  const Json sbom = Read(Path("image/sbom.spdx.json"));
  EXPECT_EQ(sbom["spdxVersion"], "SPDX-2.3");
  EXPECT_EQ(sbom["dataLicense"], "CC0-1.0");
  EXPECT_EQ(sbom["SPDXID"], "SPDXRef-DOCUMENT");
  EXPECT_EQ(sbom["creationInfo"]["created"], "1970-01-01T00:00:00Z");
  EXPECT_THAT(sbom["documentNamespace"].get<std::string>(), HasSubstr("https://"));
  std::map<std::string, Json> packages;
  std::set<std::string> ids;
  for (const Json& package : sbom["packages"]) {
    EXPECT_TRUE(ids.insert(package["SPDXID"]).second);
    packages[package["name"]] = package;
    for (const char* key : {"downloadLocation", "licenseConcluded", "licenseDeclared", "copyrightText"})
      EXPECT_TRUE(package.contains(key)) << package["name"] << key;
  }
  for (const char* name :
       {"lathe", "OpenSSL", "zlib", "PCRE2", "Boost", "nlohmann-json", "libc", "libstdc++"}) {
    ASSERT_TRUE(packages.contains(name)) << name;
    EXPECT_NE(packages[name]["licenseConcluded"], "NOASSERTION") << name;
  }
  EXPECT_EQ(packages["lathe"]["licenseConcluded"], "Apache-2.0");
  EXPECT_EQ(packages["libc"]["licenseConcluded"], "LGPL-2.1-or-later");
  EXPECT_FALSE(packages["libc"].value("versionInfo", "").empty());
  // Checksums are those of the files.
  EXPECT_EQ(packages["lathe"]["checksums"][0]["checksumValue"], Sha256Hex(*ReadFile("/proc/self/exe")));
  EXPECT_EQ(packages["tales-16m"]["checksums"][0]["checksumValue"], Sha256Hex(*ReadFile(engine)));
  for (const Json& relation : sbom["relationships"]) {
    for (const char* end : {"spdxElementId", "relatedSpdxElement"})
      EXPECT_TRUE(ids.contains(relation[end]) || relation[end] == "SPDXRef-DOCUMENT") << relation;
  }
  EXPECT_FALSE(sbom.contains("hasExtractedLicensingInfos"));
}

TEST_F(Package, ContextOfADockerfile) {
  PackageOptions options = Options(MakeEngine("tales.lathe"), Path("context"));
  options.format = Format::kDockerfile;
  options.labels = {{"say", "a \"$quoted\" word"}};
  const auto report = WritePackage(options);
  ASSERT_TRUE(report.ok()) << report.status().message();
  const std::string text = *ReadFile(Path("context/Dockerfile"));
  for (const char* line :
       {"FROM scratch\nCOPY rootfs/ /\n", "ENV LATHE_MODEL=\"/models/tales.lathe\"\n", "USER 65532:65532\n",
        "EXPOSE 8000/tcp\n", "STOPSIGNAL SIGTERM\n", "ENTRYPOINT [\"/usr/bin/lathe\"]\n", "CMD [\"serve\"]\n",
        "LABEL \"say\"=\"a \\\"\\$quoted\\\" word\"\n", "CMD [\"/usr/bin/lathe\",\"health\"]\n"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
  EXPECT_EQ(*ReadFile(Path("context/.dockerignore")), "*\n!rootfs\n");
  EXPECT_THAT(*ReadFile(Path("context/README.md")), HasSubstr("docker build -t tales-16m:latest ."));
  EXPECT_EQ(*ReadFile(Path("context/rootfs/models/tales.lathe")), *ReadFile(Path("tales.lathe")));
  EXPECT_EQ(*ReadFile(Path("context/rootfs/usr/bin/lathe")), *ReadFile("/bin/sh"));
  struct stat info {};
  ASSERT_EQ(::stat(Path("context/rootfs/tmp").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 01777u);
  EXPECT_EQ(info.st_mtime, 0);
  ASSERT_EQ(::stat(Path("context/rootfs/usr/bin/lathe").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0755u);
}

TEST_F(Package, Truss) {
  struct Case {
    const char* target;
    const char* machine;
    int tp;
    const char* resource;
  };
  for (const Case& c : {Case{"cpu:avx2", "", 1, "use_gpu: false\n"},
                        Case{"cuda:sm_90a", "NVIDIA H200", 1, "accelerator: H200\n"},
                        Case{"cuda:sm_90a", "NVIDIA H100 80GB HBM3", 2, "accelerator: H100:2\n"},
                        Case{"cuda:sm_89", "NVIDIA L40S", 1, "accelerator: L40S\n"},
                        Case{"cuda:sm_89", "", 1, "accelerator: L4\n"}}) {
    PackageOptions options = Options(MakeEngine("m.lathe", c.target, c.machine, c.tp), Path("truss"));
    options.format = Format::kTruss;
    options.program = "";
    options.force = true;
    const auto report = WritePackage(options);
    ASSERT_TRUE(report.ok()) << report.status().message();
    const std::string config = *ReadFile(Path("truss/config.yaml"));
    EXPECT_THAT(config, HasSubstr(c.resource)) << c.machine;
    EXPECT_THAT(config, HasSubstr("- lathe-llm==0.1.0\n"));
  }
  EXPECT_THAT(*ReadFile(Path("truss/model/model.py")), HasSubstr("class Model:"));
  EXPECT_EQ(*ReadFile(Path("truss/data/m.lathe")), *ReadFile(Path("m.lathe")));
  // With the Python package inside, of the version that its compiled module is for.
  fs::create_directories(Path("lathe/__pycache__"));
  for (const char* name : {"__init__.py", "_lathe.cpython-311-x86_64-linux-gnu.so", "__pycache__/x.pyc"})
    std::ofstream(Path(std::string("lathe/") + name)) << name;
  std::ofstream(Path("elsewhere.py")) << "linked";
  fs::create_symlink(Path("elsewhere.py"), Path("lathe/linked.py"));
  PackageOptions options = Options(Path("m.lathe"), Path("truss"));
  options.format = Format::kTruss;
  options.program = "";
  options.force = true;
  options.python_package = Path("lathe");
  ASSERT_TRUE(WritePackage(options).ok());
  EXPECT_THAT(*ReadFile(Path("truss/config.yaml")), HasSubstr("python_version: py311\nrequirements: []\n"));
  EXPECT_TRUE(FileExists(Path("truss/packages/lathe/_lathe.cpython-311-x86_64-linux-gnu.so")));
  EXPECT_EQ(*ReadFile(Path("truss/packages/lathe/linked.py")), "linked");
  EXPECT_FALSE(DirExists(Path("truss/packages/lathe/__pycache__")));
  options.python_package = Path("nowhere");
  EXPECT_EQ(WritePackage(options).status().code(), StatusCode::kNotFound);
}

TEST_F(Package, DamagedEnginesAreRefusedAndLeaveNothing) {
  const std::string engine = MakeEngine("tales.lathe");
  const std::string good = *ReadFile(engine);
  // Bytes that are changed: of the header, of a small blob, of the weights, which copying alone reads, and of
  // the manifest.
  for (const size_t at : {size_t{20}, size_t{4096}, size_t{100000}, good.size() - 9}) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 1);
    std::ofstream(engine, std::ios::binary) << bad;
    for (const Format format : {Format::kOci, Format::kDockerfile, Format::kTruss}) {
      PackageOptions options = Options(engine, Path("image"));
      options.format = format;
      if (format == Format::kTruss) options.program = "";
      const auto report = WritePackage(options);
      ASSERT_FALSE(report.ok()) << at;
      EXPECT_EQ(report.status().code(), StatusCode::kCorrupt) << at << report.status().message();
      EXPECT_THAT(report.status().message(), HasSubstr("tales.lathe")) << at;
      EXPECT_EQ(Names(), (std::set<std::string>{"tales.lathe"})) << at;
    }
  }
  std::ofstream(engine, std::ios::binary) << good.substr(0, good.size() / 2);
  EXPECT_EQ(WritePackage(Options(engine, Path("image"))).status().code(), StatusCode::kCorrupt);
  EXPECT_EQ(WritePackage(Options(Path("none.lathe"), Path("image"))).status().code(), StatusCode::kNotFound);
  EXPECT_THAT(WritePackage(Options(Path(""), Path("image"))).status().message(), HasSubstr("lathe build"));
}

TEST_F(Package, OptionsThatAreWrong) {
  const std::string engine = MakeEngine("m.lathe");
  struct Case {
    void (*change)(PackageOptions*);
    const char* says;
  };
  const Case cases[] = {
      {[](PackageOptions* o) { o->pull = "a/b"; }, "not both"},
      {[](PackageOptions* o) { o->engine.clear(); }, "an engine"},
      {[](PackageOptions* o) { o->engine.clear(), o->pull = "justname"; }, "ORG/NAME"},
      {[](PackageOptions* o) { o->engine.clear(), o->pull = "a/../b"; }, "ORG/NAME"},
      {[](PackageOptions* o) { o->port = 0; }, "1 to 65535"},
      {[](PackageOptions* o) { o->tag = "a b"; }, "--tag"},
      {[](PackageOptions* o) { o->tag = ""; }, "--tag"},
      {[](PackageOptions* o) { o->output = ""; }, "-o"},
      {[](PackageOptions* o) { o->cuda = true; }, "--cuda goes with --pull"},
      {[](PackageOptions* o) { o->nvrtc = "/x"; }, "--with-nvrtc goes with --pull"},
      {[](PackageOptions* o) { o->epoch = uint64_t{1} << 40; }, "SOURCE_DATE_EPOCH"},
      {[](PackageOptions* o) { o->python_package = "/x"; }, "--format truss"},
      {[](PackageOptions* o) {
         o->labels = {{"a", "b\nc"}};
       },
       "control characters"},
      {[](PackageOptions* o) { o->format = Format::kTruss; }, "--format truss"},
      {[](PackageOptions* o) { o->program = "/etc/passwd"; }, "no usable ELF"},
      {[](PackageOptions* o) { o->program = "/no/such/lathe"; }, "/no/such/lathe"},
      {[](PackageOptions* o) { o->certificates = "/no/such.pem"; }, "--certificates"},
      {[](PackageOptions* o) { o->engine.clear(), o->pull = "a/b", o->nvrtc = "/etc"; }, "libnvrtc"},
  };
  for (const Case& c : cases) {
    PackageOptions options = Options(engine, Path("image"));
    c.change(&options);
    const auto report = WritePackage(options);
    ASSERT_FALSE(report.ok()) << c.says;
    EXPECT_THAT(report.status().message(), HasSubstr(c.says));
    EXPECT_EQ(Names(), (std::set<std::string>{"m.lathe"})) << c.says;
  }
}

TEST_F(Package, WhatIsThereStaysUnlessItIsOurs) {
  const std::string engine = MakeEngine("m.lathe");
  fs::create_directories(Path("image"));
  std::ofstream(Path("image/letter.txt")) << "dear";
  PackageOptions options = Options(engine, Path("image"));
  EXPECT_THAT(WritePackage(options).status().message(), HasSubstr("--force"));
  options.force = true;
  EXPECT_THAT(WritePackage(options).status().message(), HasSubstr("nothing that lathe package wrote"));
  EXPECT_EQ(*ReadFile(Path("image/letter.txt")), "dear");
  fs::remove(Path("image/letter.txt"));
  options.force = false;
  ASSERT_TRUE(WritePackage(options).ok());  // an empty folder is as good as none
  options.force = true;
  options.tag = "second";
  ASSERT_TRUE(WritePackage(options).ok());
  EXPECT_THAT(*ReadFile(Path("image/index.json")), HasSubstr("second"));
  EXPECT_EQ(Names(), (std::set<std::string>{"image", "m.lathe"}));
  // A failure keeps the old one.
  options.engine = Path("none");
  EXPECT_FALSE(WritePackage(options).ok());
  EXPECT_THAT(*ReadFile(Path("image/index.json")), HasSubstr("second"));
  std::ofstream(Path("file")) << "x";
  options.engine = engine;
  options.output = Path("file");
  EXPECT_EQ(WritePackage(options).status().code(), StatusCode::kInvalidArgument);
}

TEST_F(Package, NvrtcGoesInsideUnderItsShortName) {
  fs::create_directories(Path("nvrtc"));
  std::ofstream(Path("nvrtc/libnvrtc.so.12.4.127")) << "compiler";
  fs::create_symlink("libnvrtc.so.12.4.127", Path("nvrtc/libnvrtc.so.12"));
  std::ofstream(Path("nvrtc/libnvrtc-builtins.so.12.4")) << "functions";
  std::ofstream(Path("nvrtc/libnvrtc.alt.so.12")) << "other";
  PackageOptions options = Pulling(Path("context"));
  options.nvrtc = Path("nvrtc");
  options.format = Format::kDockerfile;
  const auto report = WritePackage(options);
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(*ReadFile(Path("context/rootfs/usr/lib/libnvrtc.so.12")), "compiler");
  EXPECT_EQ(*ReadFile(Path("context/rootfs/usr/lib/libnvrtc-builtins.so.12.4")), "functions");
  EXPECT_FALSE(FileExists(Path("context/rootfs/usr/lib/libnvrtc.alt.so.12")));
  EXPECT_THAT(*ReadFile(Path("context/Dockerfile")), HasSubstr("NVIDIA_VISIBLE_DEVICES=\"all\""));
  const Json sbom = Read(Path("context/sbom.spdx.json"));
  EXPECT_THAT(sbom["hasExtractedLicensingInfos"].dump(), HasSubstr("LicenseRef-NVIDIA-CUDA-Toolkit"));
  EXPECT_THAT(sbom.dump(), HasSubstr("\"12.4.127\""));
}

TEST_F(Package, OwnersByDpkg) {
  fs::create_directories(Path("dpkg/info"));
  fs::create_directories(Path("usr/lib"));
  std::ofstream(Path("usr/lib/libx.so.1")) << "x";
  std::ofstream(Path("dpkg/info/libx1:amd64.list")) << "/.\n" << Path("usr/lib/libx.so.1") << "\n";
  std::ofstream(Path("dpkg/info/other.list")) << "/.\n/etc\n";
  std::ofstream(Path("dpkg/status")) << "Package: other\nVersion: 9\n\nPackage: libx1\nSource: x (1:2.3)\n"
                                        "Version: 1:2.3-4+deb12u1\n";
  const auto owners = OwnersOf({Path("usr/lib/libx.so.1"), "/nowhere/libq.so"}, Path("dpkg"));
  ASSERT_EQ(owners.size(), 1u);
  EXPECT_EQ(owners.begin()->second.name, "libx1");
  EXPECT_EQ(owners.begin()->second.version, "1:2.3-4+deb12u1");
  EXPECT_EQ(owners.begin()->second.source, "x");
  EXPECT_TRUE(OwnersOf({"/usr/lib/x"}, Path("no-dpkg")).empty());
}

}  // namespace
}  // namespace lathe::package
