#include "common/base/logging.h"

#include <exception>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/error.h"
#include "spdlog/pattern_formatter.h"
#include "spdlog/sinks/stdout_sinks.h"

namespace paramd {
namespace {

// The pattern's %*: the message, escaped.
class EscapedMessage final : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& record, const std::tm&, spdlog::memory_buf_t& out) override {
    const std::string text = EscapeLogMessage(absl::string_view(record.payload.data(), record.payload.size()));
    out.append(text.data(), text.data() + text.size());
  }
  std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<EscapedMessage>(); }
};

bool ParseLevel(absl::string_view name, spdlog::level::level_enum& level) {
  static constexpr std::pair<absl::string_view, spdlog::level::level_enum> kLevels[] = {
      {"trace", spdlog::level::trace},  {"debug", spdlog::level::debug}, {"info", spdlog::level::info},
      {"warning", spdlog::level::warn}, {"error", spdlog::level::err},
  };
  for (const auto& [known, value] : kLevels) {
    if (name == known) {
      level = value;
      return true;
    }
  }
  return false;
}

}  // namespace

std::string EscapeLogMessage(absl::string_view message) {
  std::string out;
  out.reserve(message.size());
  for (const char c : message) {
    const unsigned char byte = static_cast<unsigned char>(c);
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (byte < 0x20 || byte == 0x7f) {
      absl::StrAppendFormat(&out, "\\x%02x", byte);
    } else {
      out += c;
    }
  }
  return out;
}

absl::Status InitLogging(absl::string_view daemon, absl::string_view level) {
  spdlog::level::level_enum parsed = spdlog::level::info;
  if (!ParseLevel(level, parsed)) {
    return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_LOG_LEVEL",
                     absl::StrCat("log level must be one of trace, debug, info, warning, error, got \"", level, "\""),
                     {{"level", std::string(level)}});
  }
  try {
    auto formatter = std::make_unique<spdlog::pattern_formatter>(spdlog::pattern_time_type::utc);
    formatter->add_flag<EscapedMessage>('*').set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %l %n[%P] %*");
    auto logger =
        std::make_shared<spdlog::logger>(std::string(daemon), std::make_shared<spdlog::sinks::stderr_sink_mt>());
    logger->set_formatter(std::move(formatter));
    logger->set_level(parsed);
    logger->flush_on(spdlog::level::trace);
    spdlog::set_default_logger(std::move(logger));
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("cannot set up logging: ", error.what()));
  }
  return absl::OkStatus();
}

}  // namespace paramd
