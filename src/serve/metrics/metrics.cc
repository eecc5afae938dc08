#include "serve/metrics/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <mutex>
#include <set>
#include <sstream>

#include "serve/metrics/histogram.h"
#include "serve/metrics/process.h"

namespace lathe::serve {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

// Families of one scrape, written one line each.
class Page {
 public:
  explicit Page(std::vector<MetricFamily> families) : families_(std::move(families)) {}

  MetricFamily& Family(MetricType type, const char* name, const char* help) {
    families_.push_back({name, help, type, {}});
    return families_.back();
  }
  void Gauge(const char* name, const char* help, double value, Labels labels = {}) {
    AddGauge(Family(MetricType::Gauge, name, help), value, std::move(labels));
  }
  void Counter(const char* name, const char* help, double value) {
    AddCounter(Family(MetricType::Counter, name, help), value, {});
  }
  static void AddGauge(MetricFamily& family, double value, Labels labels) {
    ClientMetric& metric = family.metric.emplace_back();
    metric.label = std::move(labels);
    metric.gauge.value = value;
  }
  static void AddCounter(MetricFamily& family, double value, Labels labels) {
    ClientMetric& metric = family.metric.emplace_back();
    metric.label = std::move(labels);
    metric.counter.value = value;
  }
  void Histogram(const char* name, const char* help, const lathe::serve::Histogram& histogram) {
    const auto snapshot = histogram.Take();
    ClientMetric& metric = Family(MetricType::Histogram, name, help).metric.emplace_back();
    for (size_t i = 0; i < snapshot.bounds.size(); ++i) {
      metric.histogram.bucket.push_back({snapshot.cumulative[i], snapshot.bounds[i]});
    }
    metric.histogram.sample_count = snapshot.cumulative.back();
    metric.histogram.sample_sum = snapshot.sum;
  }

  std::string Text() {
    std::sort(families_.begin(), families_.end(),
              [](const MetricFamily& a, const MetricFamily& b) { return a.name < b.name; });
    std::ostringstream out;
    prometheus::TextSerializer().Serialize(out, families_);
    return std::move(out).str();
  }

 private:
  std::vector<MetricFamily> families_;
};

double Number(uint64_t value) { return static_cast<double>(value); }

// Requests, steps, tokens and KV pages of the engine.
void AddEngine(const EngineStats& s, Page* page) {
  page->Gauge("lathe_requests_running", "Sequences in the running batch.", s.running);
  page->Gauge("lathe_requests_waiting", "Sequences in the queue.", s.waiting);
  MetricFamily& ended = page->Family(MetricType::Counter, "lathe_engine_requests_total",
                                     "Requests that left the engine, by outcome.");
  Page::AddCounter(ended, Number(s.finished), {{"outcome", "finished"}});
  Page::AddCounter(ended, Number(s.cancelled), {{"outcome", "cancelled"}});
  Page::AddCounter(ended, Number(s.failed), {{"outcome", "failed"}});
  page->Counter("lathe_engine_submitted_total", "Requests submitted to the engine.", Number(s.submitted));
  page->Counter("lathe_cancellations_total", "Requests cancelled, mostly because the client left.",
                Number(s.cancelled));

  page->Counter("lathe_steps_total", "Steps of the engine.", Number(s.steps));
  ClientMetric& batch =
      page->Family(MetricType::Histogram, "lathe_batch_size", "Sequences in a step.").metric.emplace_back();
  uint64_t steps = 0;
  for (size_t i = 0; i < s.steps_by_batch.size(); ++i) {
    steps += s.steps_by_batch[i];
    const bool last = i + 1 == s.steps_by_batch.size();
    batch.histogram.bucket.push_back(
        {steps, last ? std::numeric_limits<double>::infinity() : Number(uint64_t{1} << i)});
  }
  batch.histogram.sample_count = steps;
  batch.histogram.sample_sum = Number(s.sequences_in_steps);
  MetricFamily& time =
      page->Family(MetricType::Counter, "lathe_step_seconds_total",
                   "Time of the engine's thread while it had work: device (inside the executor) and "
                   "host (scheduling, sampling policy, text).");
  Page::AddCounter(time, s.step_seconds, {{"part", "device"}});
  Page::AddCounter(time, s.host_seconds, {{"part", "host"}});
  page->Counter("lathe_gpu_seconds_total", "Time that the GPU computed, by its own clock; 0 on a CPU.",
                s.device_seconds);

  page->Counter("lathe_prompt_tokens_total", "Prompt tokens of admitted requests, cached ones included.",
                Number(s.prompt_tokens));
  page->Counter("lathe_generated_tokens_total", "Tokens generated.", Number(s.generated_tokens));
  page->Counter("lathe_prefix_cache_queries_total", "Prompt tokens looked up in the prefix cache.",
                Number(s.prompt_tokens));
  page->Counter("lathe_prefix_cache_hits_total", "Prompt tokens found in the prefix cache.",
                Number(s.cached_tokens));
  page->Counter("lathe_preemptions_total", "Sequences that gave up their KV pages to others.",
                Number(s.preemptions));
  page->Counter("lathe_recomputed_tokens_total", "Tokens computed again after a preemption.",
                Number(s.recomputed_tokens));

  MetricFamily& pages =
      page->Family(MetricType::Gauge, "lathe_kv_pages",
                   "KV pages: used by sequences, cached (prefixes that nobody uses now, taken back "
                   "when needed), free.");
  Page::AddGauge(pages, s.pages_used, {{"state", "used"}});
  Page::AddGauge(pages, s.pages_cached, {{"state", "cached"}});
  Page::AddGauge(pages, s.pages_total - s.pages_used - s.pages_cached, {{"state", "free"}});
  page->Gauge("lathe_kv_page_tokens", "Token positions of a KV page.", s.page_size);
}

// KV pages in use by sequences, 0..1. Cached pages count as free: the engine takes them back at will.
double KvUsage(const EngineStats& s) {
  return s.pages_total > 0 ? static_cast<double>(s.pages_used) / s.pages_total : 0;
}

// The model server protocol of the Gateway API Inference Extension. Its endpoint picker takes a server whose
// pod has no engine label for vLLM and reads vLLM's names, so we answer to those too.
void AddModelServerProtocol(const EngineStats& s, Page* page) {
  page->Gauge("lathe_kv_cache_usage_ratio", "Share of the KV pages that sequences use, 0..1.", KvUsage(s));
  page->Gauge("vllm:num_requests_waiting", "lathe_requests_waiting, for endpoint pickers.", s.waiting);
  page->Gauge("vllm:num_requests_running", "lathe_requests_running, for endpoint pickers.", s.running);
  page->Gauge("vllm:kv_cache_usage_perc", "lathe_kv_cache_usage_ratio, for endpoint pickers.", KvUsage(s));
  const Labels cache = {{"block_size", std::to_string(s.page_size)},
                        {"num_gpu_blocks", std::to_string(s.pages_total)}};
  page->Gauge("lathe_cache_config_info", "Tokens of a KV page and number of pages, as labels.", 1, cache);
  page->Gauge("vllm:cache_config_info", "lathe_cache_config_info, for endpoint pickers.", 1, cache);
  page->Gauge("vllm:lora_requests_info", "No adapters are served; for endpoint pickers that ask.", 0,
              {{"max_lora", "0"}, {"running_lora_adapters", ""}, {"waiting_lora_adapters", ""}});
}

void AddProcess(Page* page) {
  const ProcessStats p = ReadProcessStats();
  page->Gauge("process_resident_memory_bytes", "Resident memory.", Number(p.resident_bytes));
  page->Counter("process_cpu_seconds_total", "User and system time.", p.cpu_seconds);
  page->Gauge("process_start_time_seconds", "Unix time of the start.", p.start_seconds);
  page->Gauge("process_open_fds", "Open file descriptors.", Number(p.open_fds));
  page->Gauge("process_max_fds", "Limit of open file descriptors.", Number(p.max_fds));
  page->Gauge("process_threads", "Threads.", Number(p.threads));
}

}  // namespace

struct Metrics::Impl {
  Impl(const ModelInfo& m, std::string v)
      : model(m),
        version(std::move(v)),
        requests(prometheus::BuildCounter()
                     .Name("lathe_requests_total")
                     .Help("Requests answered, by route, HTTP status and reason of their end.")
                     .Register(registry)),
        errors(prometheus::BuildCounter()
                   .Name("lathe_request_errors_total")
                   .Help("Requests answered with an error, by HTTP status and code.")
                   .Register(registry)) {}

  // A label value that was seen before, or "other" once there are too many: a label never grows without
  // bound.
  std::string Bounded(std::set<std::string, std::less<>>* seen, std::string_view value) {
    constexpr size_t kMaxValues = 64;
    if (seen->contains(value)) return std::string(value);
    if (seen->size() >= kMaxValues) return "other";
    return *seen->emplace(value).first;
  }

  const ModelInfo model;
  const std::string version;
  prometheus::Registry registry;
  prometheus::Family<prometheus::Counter>& requests;
  prometheus::Family<prometheus::Counter>& errors;
  std::mutex mutex;
  std::set<std::string, std::less<>> routes, finishes, codes;  // guarded by mutex

  Histogram queue_wait{{.0001, .001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120}, 1e-9};
  Histogram first_token{{.001, .0025, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5, 10, 30, 60},
                        1e-9};
  Histogram inter_token{{.0005, .001, .002, .003, .005, .0075, .01, .015, .02, .03, .04,
                         .05,   .075, .1,   .15,  .2,   .3,    .5,  1,    2.5, 10},
                        1e-9};
  Histogram per_token{{.0005, .001, .002, .003, .005, .0075, .01, .015, .02, .03, .04,
                       .05,   .075, .1,   .15,  .2,   .3,    .5,  1,    2.5, 10},
                      1e-9};
  Histogram end_to_end{
      {.005, .01, .05, .1, .25, .5, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 45, 60, 120, 240, 600}, 1e-9};
  Histogram prompt_tokens{{1, 4, 16, 64, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072}, 1};
  Histogram completion_tokens{{1, 4, 16, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768}, 1};
};

Metrics::Metrics(const ModelInfo& model, std::string version)
    : impl_(std::make_unique<Impl>(model, std::move(version))) {}
Metrics::~Metrics() = default;

void Metrics::OnFirstToken(double seconds_since_received) {
  impl_->first_token.Observe(seconds_since_received);
}

void Metrics::OnTokens(int tokens, double gap_seconds) {
  if (tokens <= 0 || gap_seconds <= 0) return;  // no gap: the first tokens of a continuation
  impl_->inter_token.Observe(gap_seconds / tokens, static_cast<uint64_t>(tokens));
}

void Metrics::OnDone(const RequestRecord& record) {
  Impl& m = *impl_;
  {
    std::lock_guard lock(m.mutex);
    const std::string status = std::to_string(record.http_status);
    m.requests
        .Add({{"route", m.Bounded(&m.routes, record.route)},
              {"status", status},
              {"finish", m.Bounded(&m.finishes, record.finish)}})
        .Increment();
    if (!record.error_code.empty() || record.http_status >= 400) {
      m.errors.Add({{"status", status}, {"code", m.Bounded(&m.codes, record.error_code)}}).Increment();
    }
  }
  // What was refused never waited and has no tokens: it would only drag the latencies down.
  if (record.http_status >= 400) return;
  m.queue_wait.Observe(record.queued_seconds);
  m.end_to_end.Observe(record.total_seconds);
  m.prompt_tokens.Observe(record.prompt_tokens);
  m.completion_tokens.Observe(record.completion_tokens);
  const double more_tokens = static_cast<double>(record.completion_tokens) / std::max(record.n, 1) - 1;
  if (more_tokens > 0) m.per_token.Observe((record.total_seconds - record.first_token_seconds) / more_tokens);
}

std::string Metrics::Text(const EngineStats& stats) const {
  const Impl& m = *impl_;
  Page page(m.registry.Collect());
  AddEngine(stats, &page);
  AddModelServerProtocol(stats, &page);
  AddProcess(&page);
  page.Gauge("lathe_build_info", "1, with the version and the model as labels.", 1,
             {{"version", m.version},
              {"model", m.model.name},
              {"family", m.model.family},
              {"dtype", m.model.dtype}});
  page.Gauge("lathe_max_context_tokens", "Longest sequence, prompt and answer together.",
             m.model.max_context);
  page.Histogram("lathe_queue_wait_seconds", "From submission to the first step.", m.queue_wait);
  page.Histogram("lathe_time_to_first_token_seconds", "From the last byte of the request to its first token.",
                 m.first_token);
  page.Histogram("lathe_inter_token_latency_seconds", "Between a token and the one before it.",
                 m.inter_token);
  page.Histogram("lathe_time_per_output_token_seconds", "Mean of a request over its tokens after the first.",
                 m.per_token);
  page.Histogram("lathe_request_duration_seconds",
                 "From the last byte of the request to the end of the answer.", m.end_to_end);
  page.Histogram("lathe_request_prompt_tokens", "Prompt tokens of a request.", m.prompt_tokens);
  page.Histogram("lathe_request_completion_tokens", "Tokens generated for a request, all choices together.",
                 m.completion_tokens);
  return page.Text();
}

void RegisterMetrics(Router* router, Metrics* metrics, Engine* engine) {
  router->Add("GET", "/metrics",
              [metrics, engine](const std::shared_ptr<const HttpRequest>&,
                                const std::shared_ptr<Responder>& responder) {
                responder->Send(200, kMetricsContentType, metrics->Text(engine->Stats()));
              });
}

}  // namespace lathe::serve
