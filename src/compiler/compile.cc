#include "compiler/compile.h"

#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>

#include "base/clock.h"
#include "base/file.h"
#include "compiler/backend.h"
#include "compiler/emit.h"
#include "compiler/lower.h"
#include "compiler/pack_weights.h"
#include "compiler/pipeline.h"
#include "formats/engine_file.h"
#include "lathe/version.h"
#include "model/model_hash.h"
#include "model/spec_json.h"
#include "model/weight_source.h"
#include "text/template/chat_template.h"
#include "text/tokenizer.h"

namespace lathe {
namespace {

constexpr uint64_t kSpareDiskBytes = uint64_t{64} << 20;  // manifest, tokenizer, kernels, padding

// Everything of the model that is not weights.
struct TextParts {
  std::string tokenizer, chat_template, generation;
};

class Builder {
 public:
  Builder(const std::string& dir, const BuildOptions& options) : dir_(dir), options_(options) {}

  Expected<BuildReport> Run() {
    const double begin = NowSeconds();
    LATHE_RETURN_IF_ERROR(Stage("reading", &Builder::Read));
    LATHE_RETURN_IF_ERROR(Stage("measuring", &Builder::Measure));
    LATHE_RETURN_IF_ERROR(Stage("compiling", &Builder::Compile));
    LATHE_RETURN_IF_ERROR(CheckDisk());
    LATHE_ASSIGN_OR_RETURN(EngineWriter writer, EngineWriter::Create(options_.output));
    LATHE_RETURN_IF_ERROR(Write(&writer));
    info_.update(backend_->info());
    for (std::string& warning : backend_->warnings()) report_.warnings.push_back(std::move(warning));
    report_.seconds = NowSeconds() - begin;
    info_["seconds"]["total"] = report_.seconds;
    Progress("verifying", 0, 0);
    LATHE_RETURN_IF_ERROR(writer.Finish(identity_, ToJson(source_->spec()), info_));
    report_.seconds = NowSeconds() - begin;
    LATHE_ASSIGN_OR_RETURN(report_.file_bytes, FileSize(options_.output));
    SaveTimings();
    report_.path = options_.output;
    report_.build_info = std::move(info_);
    return std::move(report_);
  }

 private:
  Status Stage(const char* name, Status (Builder::*step)()) {
    Progress(name, 0, 0);
    LATHE_RETURN_IF_ERROR(CheckCancelled());
    const double begin = NowSeconds();
    LATHE_RETURN_IF_ERROR((this->*step)());
    info_["seconds"][name] = NowSeconds() - begin;
    return Status::Ok();
  }

  void Progress(std::string_view stage, uint64_t done, uint64_t total) const {
    if (options_.progress) options_.progress({stage, done, total});
  }

  Status CheckCancelled() const {
    if (!options_.cancelled || !options_.cancelled()) return Status::Ok();
    return Error(StatusCode::kCancelled, "the build of '%s' was cancelled", dir_.c_str());
  }

  // Everything that can be wrong with the request or the model, before time is spent.
  Status Read() {
    LATHE_RETURN_IF_ERROR(CheckOutput());
    LATHE_ASSIGN_OR_RETURN(target_, ParseTarget(options_.target, options_.cuda));
    backend_ = target_.on_cuda() ? MakeCudaBackend(options_, target_) : MakeCpuBackend(options_, target_);
    LATHE_RETURN_IF_ERROR(backend_->Check());
    LATHE_ASSIGN_OR_RETURN(WeightSource source, WeightSource::Open(dir_));
    source_ = std::make_unique<WeightSource>(std::move(source));
    LATHE_RETURN_IF_ERROR(backend_->SetCheckpointType(source_->spec().checkpoint_dtype));
    LATHE_RETURN_IF_ERROR(CheckSharding(source_->spec(), options_.tp, options_.pp));
    LATHE_ASSIGN_OR_RETURN(lowered_, Lower(source_->spec()));
    return ReadText();
  }

  std::string OutputFolder() const {
    const std::string parent = std::filesystem::path(options_.output).parent_path().string();
    return parent.empty() ? "." : parent;
  }

  Status CheckOutput() const {
    if (options_.output.empty())
      return {StatusCode::kInvalidArgument, "no output file was named; use -o FILE.lathe"};
    if (DirExists(options_.output))
      return Error(StatusCode::kInvalidArgument,
                   "the output '%s' is a directory; name a file, as in -o %s/model.lathe",
                   options_.output.c_str(), options_.output.c_str());
    if (::access(OutputFolder().c_str(), W_OK | X_OK) != 0)
      return Error(errno == ENOENT ? StatusCode::kNotFound : StatusCode::kIo,
                   "cannot write to directory '%s': %s", OutputFolder().c_str(), std::strerror(errno));
    return Status::Ok();
  }

  Status ReadText() {
    LATHE_ASSIGN_OR_RETURN(const Tokenizer tokenizer, Tokenizer::LoadDir(dir_));
    if (tokenizer.vocab_size() > source_->spec().vocab)
      report_.warnings.push_back(
          StrFormat("the tokenizer has %d ids, the model %d; prompts with the ids above fail",
                    tokenizer.vocab_size(), source_->spec().vocab));
    text_.tokenizer = tokenizer.Serialize();
    LATHE_RETURN_IF_ERROR(ReadChatTemplate());
    const std::string generation = dir_ + "/generation_config.json";
    if (FileExists(generation)) {
      LATHE_ASSIGN_OR_RETURN(text_.generation, ReadFile(generation, size_t{1} << 20));
    }
    return Status::Ok();
  }

  // A model without a template completes text; one whose template does not parse does so too, with a warning.
  Status ReadChatTemplate() {
    auto source = LoadChatTemplateSource(dir_);
    if (!source.ok()) return source.status().code() == StatusCode::kNotFound ? Status::Ok() : source.status();
    const auto parsed = ChatTemplate::Parse(*source);
    if (!parsed.ok())
      report_.warnings.push_back("chat will not work: the chat template: " + parsed.status().message());
    text_.chat_template = *std::move(source);
    return Status::Ok();
  }

  PassContext ContextOf(int tp_rank, int pp_rank) const {
    return {.tp = options_.tp,
            .tp_rank = tp_rank,
            .pp = options_.pp,
            .pp_rank = pp_rank,
            .n_layers = source_->spec().n_layers};
  }

  Status Measure() { return backend_->Measure(lowered_, ContextOf(0, 0)); }

  // Every rank's plan. Shapes are measured here, each once.
  Status Compile() {
    for (int pp_rank = 0; pp_rank < options_.pp; ++pp_rank)
      for (int tp_rank = 0; tp_rank < options_.tp; ++tp_rank) {
        ir::Graph graph = lowered_;
        PassContext context = ContextOf(tp_rank, pp_rank);
        backend_->SetUp(&context);
        std::vector<PassTiming> timings;
        const std::string prefix = StrFormat("tp%d.pp%d.", tp_rank, pp_rank);
        LATHE_RETURN_IF_ERROR(
            RunPipeline(&graph, &context, {options_.disabled_passes, DumpDir(), prefix}, &timings));
        LATHE_ASSIGN_OR_RETURN(EmittedPlan emitted,
                               EmitPlan(graph, context, source_->spec(), backend_->isa()));
        if (ranks_.empty()) RecordPasses(timings);
        report_.weight_bytes += emitted.plan.WeightBytes();
        blob_bytes_ += emitted.blob_bytes;
        ranks_.push_back(std::move(emitted));
      }
    return backend_->StartKernels(&ranks_);
  }

  std::string DumpDir() const {
    const char* env = std::getenv("LATHE_DUMP_IR");
    return options_.dump_ir_dir.empty() && env != nullptr ? env : options_.dump_ir_dir;
  }

  // Of rank 0; the others differ by numbers only.
  void RecordPasses(const std::vector<PassTiming>& timings) {
    Json& passes = info_["passes"] = Json::array();
    for (const PassTiming& t : timings)
      passes.push_back({{"name", t.name},
                        {"seconds", t.seconds},
                        {"ops_before", t.ops_before},
                        {"ops_after", t.ops_after}});
    info_["disabled_passes"] = options_.disabled_passes;
  }

  Status CheckDisk() const {
    struct statvfs fs {};
    const std::string where = OutputFolder();
    if (::statvfs(where.c_str(), &fs) != 0)
      return Error(StatusCode::kIo, "cannot look at the disk of '%s': %s", where.c_str(),
                   std::strerror(errno));
    const uint64_t free_bytes = uint64_t{fs.f_bavail} * fs.f_frsize;
    if (free_bytes < blob_bytes_ + kSpareDiskBytes)
      return Error(
          StatusCode::kResourceExhausted,
          "the engine needs %.1f MiB in '%s', %.1f MiB are free; free some space or choose another output "
          "with -o",
          static_cast<double>(blob_bytes_ + kSpareDiskBytes) / (1 << 20), where.c_str(),
          static_cast<double>(free_bytes) / (1 << 20));
    return Status::Ok();
  }

  // Weights first, the largest and what kernels are made beside; blobs are found by name.
  Status Write(EngineWriter* writer) {
    uint64_t done = 0;
    const double begin = NowSeconds();
    for (const EmittedPlan& rank : ranks_) {
      LATHE_RETURN_IF_ERROR(writer->BeginBlob(RankBlobName("weights", rank.plan.tp_rank, rank.plan.pp_rank)));
      LATHE_RETURN_IF_ERROR(PackWeights(
          rank, *source_, options_.fp8_scales, backend_->team(),
          [&](std::span<const std::byte> bytes) -> Status {
            LATHE_RETURN_IF_ERROR(CheckCancelled());
            return writer->Append(bytes);
          },
          [&](uint64_t bytes) { Progress("packing", done += bytes, blob_bytes_); }));
      LATHE_RETURN_IF_ERROR(writer->EndBlob());
    }
    const double packed = NowSeconds();
    info_["seconds"]["packing"] = packed - begin;
    LATHE_RETURN_IF_ERROR(backend_->FinishKernels(writer));
    info_["seconds"]["waiting for kernels"] = NowSeconds() - packed;
    for (const EmittedPlan& rank : ranks_) {
      const Plan& plan = rank.plan;
      LATHE_RETURN_IF_ERROR(
          writer->AddBlob(RankBlobName("plan", plan.tp_rank, plan.pp_rank), DumpJson(ToJson(plan))));
    }
    LATHE_RETURN_IF_ERROR(writer->AddBlob("tokenizer", text_.tokenizer));
    if (!text_.chat_template.empty())
      LATHE_RETURN_IF_ERROR(writer->AddBlob("chat_template", text_.chat_template));
    if (!text_.generation.empty()) LATHE_RETURN_IF_ERROR(writer->AddBlob("generation", text_.generation));
    identity_ = {.builder = kVersionString,
                 .target = target_.Name(),
                 .machine = "",
                 .model_name = ModelNameOf(dir_),
                 .model_hash = source_->source_hash(),
                 .dtype = "",
                 .numeric = "",
                 .tp = options_.tp,
                 .pp = options_.pp};
    backend_->Identify(&identity_);
    return Status::Ok();
  }

  // The engine stands already: a cache that cannot be written is worth a warning only.
  void SaveTimings() {
    if (options_.timing_cache.empty()) return;
    const Status status = backend_->SaveTimings();
    if (!status.ok()) report_.warnings.push_back("the timing cache was not saved: " + status.message());
  }

  const std::string dir_;
  const BuildOptions& options_;
  BuildTarget target_;
  std::unique_ptr<WeightSource> source_;
  TextParts text_;
  ir::Graph lowered_;
  std::vector<EmittedPlan> ranks_;
  uint64_t blob_bytes_ = 0;
  EngineIdentity identity_;
  Json info_;
  BuildReport report_;
  std::unique_ptr<Backend> backend_;  // the last: a thread of it may still use the plans
};

}  // namespace

std::string ModelNameOf(const std::string& dir) {
  std::error_code ec;
  std::filesystem::path path = std::filesystem::weakly_canonical(dir, ec);
  if (ec || path.filename().empty()) path = path.parent_path();
  // .../models--ORG--NAME/snapshots/COMMIT, where a hub's files lie, is called NAME.
  const std::string repo = path.parent_path().parent_path().filename().string();
  if (path.parent_path().filename() == "snapshots" && repo.starts_with("models--"))
    return repo.substr(repo.rfind("--") + 2);
  return path.filename().empty() ? "model" : path.filename().string();
}

Expected<BuildReport> BuildEngine(const std::string& dir, const BuildOptions& options) {
  return Builder(dir, options).Run();
}

}  // namespace lathe
