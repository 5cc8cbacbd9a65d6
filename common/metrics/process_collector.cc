#include "common/metrics/process_collector.h"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

namespace paramd {
namespace {

std::string ReadFile(const char* path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

// Fields of /proc/self/stat as proc(5) numbers them, from 3 on; the name before may hold blanks and parentheses.
class Stat {
 public:
  Stat() {
    const std::string text = ReadFile("/proc/self/stat");
    const size_t end = text.rfind(')');
    if (end != std::string::npos) fields_ = absl::StrSplit(text.substr(end + 1), ' ', absl::SkipWhitespace());
  }

  std::optional<double> Field(size_t number) const {
    double value;
    if (number < 3 || number - 3 >= fields_.size() || !absl::SimpleAtod(fields_[number - 3], &value))
      return std::nullopt;
    return value;
  }

 private:
  std::vector<std::string> fields_;
};

std::optional<double> CountOpenFiles() {
  DIR* directory = opendir("/proc/self/fd");
  if (directory == nullptr) return std::nullopt;
  int count = 0;
  while (const dirent* entry = readdir(directory)) {
    if (entry->d_name[0] != '.') ++count;
  }
  closedir(directory);
  return count - 1;  // Without the directory itself.
}

std::optional<double> MaxOpenFiles() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return std::nullopt;
  return static_cast<double>(limit.rlim_cur);
}

// Seconds since the epoch at which the machine started.
std::optional<double> BootTime() {
  for (absl::string_view line : absl::StrSplit(ReadFile("/proc/stat"), '\n')) {
    double seconds;
    if (line.substr(0, 6) == "btime " && absl::SimpleAtod(line.substr(6), &seconds)) return seconds;
  }
  return std::nullopt;
}

void Add(const char* name, const char* help, prometheus::MetricType type, std::optional<double> value,
         std::vector<prometheus::MetricFamily>& families) {
  if (!value.has_value()) return;
  prometheus::ClientMetric metric;
  metric.counter.value = *value;  // The serializer reads the one that `type` names.
  metric.gauge.value = *value;
  prometheus::MetricFamily family;
  family.name = name;
  family.help = help;
  family.type = type;
  family.metric.push_back(metric);
  families.push_back(std::move(family));
}

std::optional<double> Sum(std::optional<double> a, std::optional<double> b, double b_scale) {
  if (!a.has_value() || !b.has_value()) return std::nullopt;
  return *a + *b * b_scale;
}

}  // namespace

std::vector<prometheus::MetricFamily> ProcessCollector::Collect() const {
  const Stat stat;
  const double tick = 1.0 / static_cast<double>(sysconf(_SC_CLK_TCK));
  const double page = static_cast<double>(sysconf(_SC_PAGESIZE));
  constexpr auto kCounter = prometheus::MetricType::Counter;
  constexpr auto kGauge = prometheus::MetricType::Gauge;
  std::optional<double> cpu = Sum(stat.Field(14), stat.Field(15), 1);
  if (cpu.has_value()) *cpu *= tick;

  std::vector<prometheus::MetricFamily> families;
  Add("process_cpu_seconds_total", "User and system CPU time spent, in seconds.", kCounter, cpu, families);
  Add("process_threads", "Threads of the process.", kGauge, stat.Field(20), families);
  Add("process_start_time_seconds", "Start time of the process, in seconds since the epoch.", kGauge,
      Sum(BootTime(), stat.Field(22), tick), families);
  Add("process_virtual_memory_bytes", "Virtual memory size in bytes.", kGauge, stat.Field(23), families);
  Add("process_resident_memory_bytes", "Resident memory size in bytes.", kGauge, Sum(0.0, stat.Field(24), page),
      families);
  Add("process_open_fds", "Open file descriptors.", kGauge, CountOpenFiles(), families);
  Add("process_max_fds", "Limit of open file descriptors.", kGauge, MaxOpenFiles(), families);
  return families;
}

}  // namespace paramd
