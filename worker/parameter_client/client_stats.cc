#include "worker/parameter_client/client_stats.h"

namespace paramd {

void AddStats(const ParameterClientStats& more, ParameterClientStats& stats) {
  stats.pushed_bytes += more.pushed_bytes;
  stats.pulled_bytes += more.pulled_bytes;
  stats.retries += more.retries;
  stats.duplicates += more.duplicates;
  stats.reconnections += more.reconnections;
  stats.shared_memory_refusals += more.shared_memory_refusals;
  for (size_t i = 0; i < stats.pushed.size(); ++i) {
    stats.pushed[i].wire_bytes += more.pushed[i].wire_bytes;
    stats.pushed[i].raw_bytes += more.pushed[i].raw_bytes;
    stats.pulled[i].wire_bytes += more.pulled[i].wire_bytes;
    stats.pulled[i].raw_bytes += more.pulled[i].raw_bytes;
  }
  stats.open_requests += more.open_requests;
  stats.in_flight_bytes += more.in_flight_bytes;
  for (size_t i = 0; i < stats.streams.size(); ++i) stats.streams[i] += more.streams[i];
}

}  // namespace paramd
