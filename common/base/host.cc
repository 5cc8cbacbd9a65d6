#include "common/base/host.h"

#include "absl/strings/ascii.h"
#include "absl/strings/string_view.h"
#include "common/base/file.h"

namespace paramd {

// Not /etc/machine-id, which differs between the containers of a host and is the same in copies of a disk.
std::string HostId() {
  absl::StatusOr<std::string> text = ReadFile("/proc/sys/kernel/random/boot_id", 4096);
  if (!text.ok()) return "";
  return std::string(absl::StripAsciiWhitespace(*text));
}

}  // namespace paramd
