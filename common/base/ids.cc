#include "common/base/ids.h"

#include <unistd.h>

#include <random>

#include "absl/time/time.h"

namespace paramd {

std::string RandomSuffix(int length) {
  static constexpr char kAlphabet[] = "abcdefghijklmnopqrstuvwxyz0123456789";
  std::random_device source;  // getrandom(2) or the processor; throws only when neither is there.
  std::uniform_int_distribution<int> index(0, static_cast<int>(sizeof(kAlphabet)) - 2);
  std::string suffix;
  for (int i = 0; i < length; ++i) suffix += kAlphabet[index(source)];
  return suffix;
}

uint64_t NewIncarnation(const Clock& clock) { return static_cast<uint64_t>(absl::ToUnixMicros(clock.Now())); }

std::string HostName() {
  char name[256] = {};
  if (gethostname(name, sizeof(name) - 1) != 0 || name[0] == '\0') return "localhost";
  return name;
}

}  // namespace paramd
