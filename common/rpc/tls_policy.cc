#include "common/rpc/tls_policy.h"

#include <memory>

#include "absl/base/call_once.h"
#include "openssl/bio.h"
#include "openssl/conf.h"
#include "openssl/ssl.h"

namespace paramd {
namespace {

// gRPC asks for TLS 1.2 or above and offers no way to ask for more, but it leaves alone what OpenSSL gives every new
// context. `Protocol` switches versions off whatever minimum is asked for; `MinProtocol` would be overridden.
constexpr char kConfiguration[] =
    "openssl_conf = paramd\n"
    "[paramd]\n"
    "ssl_conf = ssl\n"
    "[ssl]\n"
    "system_default = tls\n"
    "[tls]\n"
    "Protocol = -TLSv1, -TLSv1.1, -TLSv1.2\n"
    "CipherString = DEFAULT@SECLEVEL=2\n"
    "Ciphersuites = TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256\n";

struct Free {
  void operator()(BIO* bio) const { BIO_free(bio); }
  void operator()(CONF* conf) const { NCONF_free(conf); }
};

bool Apply() {
  // First the operating system's file, which would else be loaded later and win.
  if (OPENSSL_init_ssl(OPENSSL_INIT_LOAD_CONFIG, nullptr) != 1) return false;
  const std::unique_ptr<CONF, Free> conf(NCONF_new(nullptr));
  const std::unique_ptr<BIO, Free> text(BIO_new_mem_buf(kConfiguration, -1));
  return conf != nullptr && text != nullptr && NCONF_load_bio(conf.get(), text.get(), nullptr) > 0 &&
         CONF_modules_load(conf.get(), nullptr, 0) > 0;
}

}  // namespace

absl::Status ApplyTlsPolicy() {
  static absl::once_flag once;  // OpenSSL's configuration must not be loaded by two threads.
  static bool applied = false;
  absl::call_once(once, [] { applied = Apply(); });
  return applied ? absl::OkStatus() : absl::InternalError("OpenSSL refuses the configuration for TLS 1.3");
}

}  // namespace paramd
