// manifest.json, the file that makes a directory a checkpoint: what is in it, where, and with which checksums.
//
//   {"crc32c":"1a2b3c4d","manifest":{...}}
//
// The value of "manifest" is checkpoint.proto's Manifest as proto JSON; "crc32c" is of that value's bytes, from { to },
// in eight lower-case hexadecimal digits. Nothing else may be in the file but one newline at its end.
//
//   RETURN_IF_ERROR(WriteManifest(directory, manifest));        // Durable, all or nothing.
//   ASSIGN_OR_RETURN(const checkpoint::Manifest manifest, ReadManifest(directory));
//
// Thread safe.
#ifndef PARAMD_SERVER_CHECKPOINT_MANIFEST_H_
#define PARAMD_SERVER_CHECKPOINT_MANIFEST_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/checkpoint/checkpoint.pb.h"

namespace paramd {

inline constexpr char kManifestFile[] = "manifest.json";
inline constexpr uint32_t kCheckpointFormat = 1;

// Whether a file of that name lies in the checkpoint's own directory.
bool IsPlainName(absl::string_view name);

absl::StatusOr<std::string> SerializeManifest(const checkpoint::Manifest& manifest);
// kDataLoss CHECKPOINT_INVALID, which names `path`. Checks that the parts fit together: names without directories,
// records within their files, every chunk of the arena once.
absl::StatusOr<checkpoint::Manifest> ParseManifest(absl::string_view path, absl::string_view text);

// Errors of common/base/file.h.
absl::Status WriteManifest(const std::string& directory, const checkpoint::Manifest& manifest);
// As ParseManifest; kDataLoss CHECKPOINT_INVALID also when there is none: the checkpoint is incomplete.
absl::StatusOr<checkpoint::Manifest> ReadManifest(const std::string& directory);

}  // namespace paramd

#endif  // PARAMD_SERVER_CHECKPOINT_MANIFEST_H_
