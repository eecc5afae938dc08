// GET /metrics: what the server and its engine do, as Prometheus reads it. Every name is listed in
// docs/metrics.md.
#pragma once

#include <memory>
#include <string>

#include "lathe/engine.h"
#include "serve/router.h"
#include "serve/seams.h"

namespace lathe::serve {

// Thread-safe. OnFirstToken and OnTokens take no lock and no memory; OnDone takes a lock for the labelled
// counters.
class Metrics : public Observer {
 public:
  // version: shown in lathe_build_info.
  Metrics(const ModelInfo& model, std::string version);
  ~Metrics() override;

  void OnFirstToken(double seconds_since_received) override;
  void OnTokens(int tokens, double gap_seconds) override;
  void OnDone(const RequestRecord& record) override;

  // Everything in Prometheus' text format 0.0.4, families in order of their names.
  std::string Text(const EngineStats& stats) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

inline constexpr char kMetricsContentType[] = "text/plain; version=0.0.4; charset=utf-8";

// GET /metrics. Both must outlive the router.
void RegisterMetrics(Router* router, Metrics* metrics, Engine* engine);

}  // namespace lathe::serve
