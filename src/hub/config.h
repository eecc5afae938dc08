// Where the hub is, who we are, where files go: from the environment variables that huggingface_hub reads.
#pragma once

#include <string>

#include "base/status.h"
#include "hub/url.h"

namespace lathe::hub {

struct HubConfig {
  Url endpoint;              // HF_ENDPOINT, https://huggingface.co
  std::string token;         // HF_TOKEN, HUGGING_FACE_HUB_TOKEN, or the token file; "": none
  std::string token_source;  // "HF_TOKEN", or the file's path: for messages
  std::string cache_dir;     // HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, or HF_HOME/hub
  bool offline = false;      // HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE: 1, on, yes or true
  double idle_timeout =
      10;  // HF_HUB_DOWNLOAD_TIMEOUT: seconds without a byte before a connection is given up
  double first_retry_delay = 0.5;  // seconds; doubles with each attempt that brings nothing
};

// HF_HOME defaults to $XDG_CACHE_HOME/huggingface, then ~/.cache/huggingface; the token file is HF_TOKEN_PATH
// or HF_HOME/token. Errors: kInvalidArgument for an endpoint, token or number that cannot be one, or without
// any place for the cache.
Expected<HubConfig> ConfigFromEnvironment();

}  // namespace lathe::hub
