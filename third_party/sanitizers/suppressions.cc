// What the sanitizers must not report, linked into every test: findings inside the operating system's libraries, which
// are not instrumented. Without a sanitizer nobody calls these functions.

// ThreadSanitizer does not see the synchronisation inside these libraries. Races outside of them are reported.
extern "C" const char* __tsan_default_suppressions() {
  return "race:libgrpc.so\n"
         "race:libgrpc++.so\n"
         "race:libgpr.so\n"
         "race:libupb.so\n"
         // Inlined from the headers of gRPC: operations and tags that the library takes over on another thread.
         "race:grpc::internal::CallOp\n"
         "race:grpc::internal::CallbackWithSuccessTag::Set\n"
         // Made before the server starts; that its handlers come later is ordered inside gRPC.
         "race:paramd::InferenceService::InferenceService\n"
         "race:paramd::ServerMetricsInterceptorFactory::Metrics::Metrics\n"
         "race:libprotobuf.so\n"
         "race:libabsl_\n"
         "race:libaddress_sorting.so\n"
         "race:libdnnl.so\n"
         "race:libgomp.so\n"
         "race:libprometheus-cpp\n"
         "race:libcivetweb\n"
         "race:libspdlog.so\n"
         "race:libssl.so\n"
         "race:libcrypto.so\n"
         // Out of line in libstdc++, called there by gRPC on strings that it hands from thread to thread.
         "race:std::__cxx11::basic_string<*>::_M_assign\n"
         "called_from_lib:libgrpc.so\n"
         "called_from_lib:libgrpc++.so\n"
         "called_from_lib:libgomp.so\n"
         "called_from_lib:libdnnl.so\n";
}

// Allocations that these libraries keep for the life of the process.
extern "C" const char* __lsan_default_suppressions() {
  return "leak:libgrpc.so\n"
         "leak:libcares.so\n"
         "leak:libgomp.so\n"
         "leak:libdnnl.so\n";
}
