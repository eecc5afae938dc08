// The table of settings, and nothing else.
#include "serve/server/config.h"

namespace lathe::serve {

const std::vector<Setting>& Settings() {
  using C = ServerConfig;
  using T = SettingType;
  constexpr double kPath = 4096, kDay = 86400, kGi = 1024.0 * 1024 * 1024;
  // clang-format off
  static const std::vector<Setting> table = {
      {"model", "Model", T::kString, 0, kPath, {}, &C::model, "none",
       "An engine file, or a model's directory (built once into the cache); also the command's argument"},
      {"dtype", "Model", T::kString, 0, 16, {"", "auto", "bf16", "fp16", "f32", "fp8"}, &C::dtype, "auto",
       "Weights of a directory's engine"},
      {"target", "Model", T::kString, 1, 32, {}, &C::target, "",
       "What a directory's engine is for: auto (a GPU that is here, else the CPU), cpu, cuda, ..."},
      {"chat_template", "Model", T::kString, 0, kPath, {}, &C::chat_template, "the model's",
       "File of a Jinja chat template that replaces the model's"},
      {"threads", "Model", T::kInt, 0, 4096, {}, &C::threads, "usable CPUs",
       "Compute threads"},
      {"device", "Model", T::kInt, 0, 1023, {}, &C::device, "",
       "Which GPU, as lathe devices counts them"},
      {"gpu_memory_fraction", "Model", T::kFraction, 0.01, 1, {}, &C::gpu_memory_fraction, "",
       "Of what the GPU has free beside weights and buffers, for keys and values where kv_bytes is 0"},
      {"deterministic", "Model", T::kBool, 0, 1, {}, &C::deterministic, "",
       "On a GPU: the same bits for a request whatever runs beside it, at some cost; CPUs do it always"},
      {"kv_bytes", "Model", T::kBytes, 0, 16384 * kGi, {}, &C::kv_bytes, "fits a few sequences",
       "Memory for keys and values"},
      {"host_kv_memory", "Model", T::kBytes, 0, 16384 * kGi, {}, &C::host_kv_memory, "",
       "Host memory for keys and values of prefixes that nobody uses now and that had to leave; they come back without being computed again"},
      {"context", "Model", T::kInt, 0, 1 << 24, {}, &C::context, "the model's",
       "Longest sequence in tokens, prompt and answer"},
      {"max_sequences", "Model", T::kInt, 0, 65536, {}, &C::max_sequences, "256",
       "Sequences that run at once; more wait"},
      {"max_step_tokens", "Model", T::kInt, 0, 1 << 20, {}, &C::max_step_tokens, "512, on a GPU 4096",
       "Rows of one step: a longer prompt is read in pieces between the tokens of others"},
      {"max_step_growth", "Model", T::kInt, 0, 1000, {}, &C::max_step_growth, "",
       "A step that also reads prompts lasts at most this many times one that only decodes, or 50 ms; 0: no bound"},
      {"prefix_cache", "Model", T::kBool, 0, 1, {}, &C::prefix_cache, "",
       "Keep the keys and values of prompts for prompts that begin alike, each API key for itself"},

      {"model_name", "API", T::kString, 0, 256, {}, &C::model_name, "the engine's",
       "The name that clients see and send"},
      {"model_aliases", "API", T::kStrings, 0, 64, {}, &C::model_aliases, "none",
       "Further names accepted as `model`"},
      {"tool_format", "API", T::kString, 0, 16, {"auto", "none", "hermes", "llama3_json", "mistral"},
       &C::tool_format, "",
       "How the model writes tool calls; auto: as its template has it"},
      {"reasoning_format", "API", T::kString, 0, 16, {"auto", "none", "think"}, &C::reasoning_format, "",
       "How the model marks its reasoning; auto: as its template has it"},
      {"allow_special_tokens", "API", T::kBool, 0, 1, {}, &C::allow_special_tokens, "",
       "Control tokens spelled out in a text prompt count as such; for trusted clients only"},
      {"request_timeout", "API", T::kSeconds, 0, kDay, {}, &C::request_timeout, "none",
       "Deadline of a request that names none"},
      {"max_n", "API", T::kInt, 1, 64, {}, &C::max_n, "",
       "Largest `n` of a request"},
      {"max_prompts", "API", T::kInt, 1, 4096, {}, &C::max_prompts, "",
       "Most prompts in one request"},

      {"host", "Network", T::kString, 1, 256, {}, &C::host, "",
       "IP address to listen on; beyond loopback only with keys_file"},
      {"port", "Network", T::kInt, 0, 65535, {}, &C::port, "",
       "Port to listen on; 0: any free one"},
      {"management_listen", "Network", T::kString, 0, 256, {}, &C::management_listen, "off",
       "ADDRESS:PORT of a second listener, plain and without keys, with /livez, /readyz, /health and "
       "/metrics alone, for probes"},
      {"tls_cert", "Network", T::kString, 0, kPath, {}, &C::tls_cert, "no TLS",
       "PEM file of the certificate and its chain; read again on SIGHUP"},
      {"tls_key", "Network", T::kString, 0, kPath, {}, &C::tls_key, "no TLS",
       "PEM file of the certificate's key"},
      {"io_threads", "Network", T::kInt, 1, 64, {}, &C::io_threads, "",
       "Threads that read and write sockets"},
      {"workers", "Network", T::kInt, 1, 256, {}, &C::workers, "",
       "Threads that parse requests, render templates and tokenize"},
      {"max_connections", "Network", T::kInt, 1, 65536, {}, &C::max_connections, "",
       "Open connections; one more gets 503 and is closed"},
      {"max_header_bytes", "Network", T::kBytes, 1024, 1 << 20, {}, &C::max_header_bytes, "",
       "Request line and headers; more gets 431"},
      {"max_body_bytes", "Network", T::kBytes, 1024, kGi, {}, &C::max_body_bytes, "",
       "A request's body; more gets 413"},
      {"max_buffered_bytes", "Network", T::kBytes, 1024, 1024 * kGi, {}, &C::max_buffered_bytes, "",
       "Bodies of all requests that are being read or parsed; more gets 503"},
      {"write_backlog_bytes", "Network", T::kBytes, 1024, kGi, {}, &C::write_backlog_bytes, "",
       "Of a stream, what its client has not taken yet; a slower client is disconnected"},
      {"read_timeout", "Network", T::kSeconds, 0.1, 3600, {}, &C::read_timeout, "",
       "A request's head must be whole by then; its body must never pause for longer, nor come slower "
       "than 4 KB/s on the whole"},
      {"idle_timeout", "Network", T::kSeconds, 0.1, kDay, {}, &C::idle_timeout, "",
       "A connection without a request is closed after this"},
      {"write_timeout", "Network", T::kSeconds, 0.1, kDay, {}, &C::write_timeout, "",
       "A client that takes nothing of its answer for so long is disconnected"},
      {"comment_interval", "Network", T::kSeconds, 0.1, kDay, {}, &C::comment_interval, "",
       "A stream of events that is silent for so long gets a comment, so that proxies keep it open"},

      {"keys_file", "Access", T::kString, 0, kPath, {}, &C::keys_file, "no keys",
       "YAML file of API keys (hashes, names, limits); every route then needs one; read again on SIGHUP"},
      {"insecure_no_auth", "Access", T::kBool, 0, 1, {}, &C::insecure_no_auth, "",
       "Listen beyond loopback without API keys: whoever reaches the port may use the model"},

      {"max_queued_requests", "Admission", T::kInt, 1, 1 << 20, {}, &C::max_queued_requests, "",
       "Sequences admitted and not yet finished; more get 429"},
      {"max_queued_tokens", "Admission", T::kBytes, 0, 1024 * kGi, {}, &C::max_queued_tokens,
       "max_connections x context",
       "Tokens (prompt and longest answer) of all admitted requests; more get 429"},

      {"stall_unready", "Health", T::kSeconds, 0.1, kDay, {}, &C::stall_unready, "",
       "Work is there and no step ended for so long: /readyz answers 503"},
      {"stall_exit", "Health", T::kSeconds, 0.1, kDay, {}, &C::stall_exit, "",
       "The same for /livez, and the process exits with code 70; longer than the longest step of a slow "
       "machine"},
      {"grace", "Health", T::kSeconds, 0, kDay, {}, &C::grace, "",
       "After SIGTERM, running requests have so long to finish"},

      {"log_format", "Log", T::kString, 0, 16, {"plain", "json"}, &C::log_format, "",
       "Lines on standard error"},
      {"log_level", "Log", T::kString, 0, 16, {"debug", "info", "warn", "error", "off"}, &C::log_level, "",
       "Least level that is written; info has a line for each request"},
  };
  // clang-format on
  return table;
}

}  // namespace lathe::serve
